"""The parts of SAM 2's checkpoints that track objects in videos; single images do not need them."""

from itertools import pairwise

from ..layout import Shapes

UNUSED = (
    "memory_attention.{r}",
    "memory_encoder.{r}",
    "mask_downsample.{r}",
    "obj_ptr_proj.{r}",
    "obj_ptr_tpos_proj.{r}",
    "maskmem_tpos_enc",
    "no_mem_pos_enc",
    "no_obj_ptr",
    "no_obj_embed_spatial",
)
"""Keys of the authors' files."""

LATER = ("obj_ptr_tpos_proj.", "no_obj_embed_spatial")
"""Prefixes of keys that only 2.1 has."""

WIDTH, MEMORY = 256, 64


def _layer(name: str, *shape: int) -> dict[str, tuple[int, ...]]:
    """Shapes of a layer's weight and bias."""
    return {f"{name}.weight": shape, f"{name}.bias": shape[:1]}


def _attention(name: str, memory: int) -> dict[str, tuple[int, ...]]:
    reads = {"q_proj": WIDTH, "k_proj": memory, "v_proj": memory, "out_proj": WIDTH}
    return {k: v for part, width in reads.items() for k, v in _layer(f"{name}.{part}", WIDTH, width).items()}


def memory_attention(layers: int) -> dict[str, tuple[int, ...]]:
    """Shapes of the memory attention, which reads the memory of earlier frames."""
    found = _layer("memory_attention.norm", WIDTH)
    for name in (f"memory_attention.layers.{i}" for i in range(layers)):
        found |= _attention(f"{name}.self_attn", WIDTH) | _attention(f"{name}.cross_attn_image", MEMORY)
        found |= _layer(f"{name}.linear1", 2048, WIDTH) | _layer(f"{name}.linear2", WIDTH, 2048)
        for i in (1, 2, 3):
            found |= _layer(f"{name}.norm{i}", WIDTH)
    return found


def memory_encoder() -> dict[str, tuple[int, ...]]:
    """Shapes of the memory encoder, and of the object pointers shared by SAM 2 and EdgeTAM."""
    found = {
        "maskmem_tpos_enc": (7, 1, 1, MEMORY),
        "no_mem_pos_enc": (1, 1, WIDTH),
        "no_obj_ptr": (1, WIDTH),
        **_layer("mask_downsample", 1, 1, 4, 4),
        **_layer("memory_encoder.pix_feat_proj", WIDTH, WIDTH, 1, 1),
        **_layer("memory_encoder.out_proj", MEMORY, WIDTH, 1, 1),
    }
    widths, encoder = (1, 4, 16, 64, 256), "memory_encoder.mask_downsampler.encoder"
    for i, (cin, cout) in enumerate(pairwise(widths)):
        found |= _layer(f"{encoder}.{3 * i}", cout, cin, 3, 3) | _layer(f"{encoder}.{3 * i + 1}", cout)
    found |= _layer(f"{encoder}.12", WIDTH, WIDTH, 1, 1)
    for name in (f"memory_encoder.fuser.layers.{i}" for i in range(2)):
        found |= {f"{name}.gamma": (WIDTH,)} | _layer(f"{name}.dwconv", WIDTH, 1, 7, 7) | _layer(f"{name}.norm", WIDTH)
        found |= _layer(f"{name}.pwconv1", 4 * WIDTH, WIDTH) | _layer(f"{name}.pwconv2", WIDTH, 4 * WIDTH)
    for i in range(3):
        found |= _layer(f"obj_ptr_proj.layers.{i}", WIDTH, WIDTH)
    return found


BLANK: Shapes = {
    **memory_attention(4),
    **memory_encoder(),
    **_layer("obj_ptr_tpos_proj", MEMORY, WIDTH),
    "no_obj_embed_spatial": (1, MEMORY),
}
"""Tensors required by the authors' loader of SAM 2.1."""
