"""The catalogue: every checkpoint of the family as data. Standard library only.

Parameter counts were computed from the reference implementations. ``sha256`` is recorded only where it is
certain; ``published`` figures are their authors' own, each with its source.
"""

import difflib
from dataclasses import dataclass, field

SAM_PAPER = "Kirillov et al. 2023, arXiv 2304.02643"


@dataclass(frozen=True)
class Variant:
    """One checkpoint.

    family: which rename table reads its original file (see `convert.FAMILIES`)
    params: parameters, counted by building it
    repo, file, revision: where it is published on the Hub; ``file`` is empty for the transformers layout
    url: where its authors publish the file, if not (only) on the Hub
    sha256: of the original file, where certain
    config: the settings of `SamConfig` that differ from its defaults
    preprocessing: the settings of `SamImageProcessor` that differ from its defaults
    """

    family: str
    params: int
    license: str
    good_for: str
    repo: str = ""
    file: str = ""
    revision: str = ""
    url: str = ""
    sha256: str = ""
    image_size: int = 1024
    config: dict = field(default_factory=dict)
    preprocessing: dict = field(default_factory=dict)
    published: dict[str, str] = field(default_factory=dict)
    commercial_use: bool = True


def _vit(width: int, depth: int, heads: int, every: int) -> dict:
    """A ViT whose every ``every``-th layer is global."""
    return {
        "vision_config": {
            "hidden_size": width,
            "num_hidden_layers": depth,
            "num_attention_heads": heads,
            "global_attn_indexes": list(range(every - 1, depth, every)),
        }
    }


VIT_B, VIT_L, VIT_H = _vit(768, 12, 12, 3), _vit(1024, 24, 16, 6), _vit(1280, 32, 16, 8)


def _pruned(width: int, mlp: int) -> dict:
    """A ViT-B with every width cut alike (SlimSAM)."""
    return {"vision_config": {**VIT_B["vision_config"], "hidden_size": width, "mlp_dim": mlp}}


TINY_VIT = {"vision_config": {"model_type": "sam_hub_tiny_vit"}}
EDGE_SAM = {"vision_config": {"model_type": "sam_hub_repvit"}, "mask_decoder_config": {"rank_by": "stability"}}
EDGE_SAM_README = "EdgeSAM's README"

ZOO: dict[str, Variant] = {
    "pocket": Variant(
        family="pocket",
        params=7_765_808,
        license="apache-2.0",
        good_for="works at once and offline: it is inside the package",
        image_size=512,
        config={
            "vision_config": {"model_type": "sam_hub_pocket", "image_size": 512},
            "prompt_encoder_config": {"image_size": 512},
        },
        preprocessing={"size": {"longest_edge": 512}, "image_mean": [127 / 255] * 3, "image_std": [128 / 255] * 3},
    ),
    "sam-vit-b": Variant(
        family="sam",
        params=93_735_472,
        license="apache-2.0",
        good_for="the smallest original",
        repo="facebook/sam-vit-base",
        config=VIT_B,
    ),
    "sam-vit-l": Variant(
        family="sam",
        params=312_342_832,
        license="apache-2.0",
        good_for="nearly the quality of H at half its size",
        repo="facebook/sam-vit-large",
        config=VIT_L,
    ),
    "sam-vit-h": Variant(
        family="sam",
        params=641_090_608,
        license="apache-2.0",
        good_for="the best masks of the original family",
        repo="facebook/sam-vit-huge",
        config=VIT_H,
    ),
    "slimsam-50": Variant(
        family="sam",
        params=27_960_000,
        license="apache-2.0",
        good_for="a pruned ViT-B, a third of its size",
        repo="Zigeng/SlimSAM-uniform-50",
        config=_pruned(384, 1536),
    ),
    "slimsam-77": Variant(
        family="sam",
        params=9_720_000,
        license="apache-2.0",
        good_for="a pruned ViT-B, a tenth of its size",
        repo="Zigeng/SlimSAM-uniform-77",
        config=_pruned(168, 696),
    ),
    "mobile-sam": Variant(
        family="mobile-sam",
        params=9_808_452,
        license="apache-2.0",
        good_for="the best known small model; SAM's own decoder",
        repo="dhkim2810/MobileSAM",
        file="mobile_sam.pt",
        sha256="6dbb90523a35330fedd7f1d3dfc66f995213d81b29a5ca8108dbcdd4e37d6c2f",
        config=TINY_VIT,
        published={"COCO mask AP, ViTDet-H boxes": f"39.4 ({EDGE_SAM_README})"},
    ),
    "tinysam": Variant(
        family="mobile-sam",
        params=9_808_452,
        license="apache-2.0",
        good_for="MobileSAM's network, better taught; always three masks",
        repo="merve/tinysam",
        file="tinysam_42.3.pth",
        url="https://github.com/xinghaochen/TinySAM/releases/download/3.0/tinysam_42.3.pth",
        config={**TINY_VIT, "mask_decoder_config": {"always_multimask": True}},
        published={"COCO mask AP, ViTDet-H boxes": "42.3 (TinySAM's README)"},
    ),
    "edge-sam": Variant(
        family="edge-sam",
        params=9_582_112,
        license="s-lab-1.0",
        commercial_use=False,
        good_for="phones: convolutions only",
        repo="chongzhou/EdgeSAM",
        file="edge_sam.pth",
        config=EDGE_SAM,
        published={
            "COCO mask AP, ViTDet-H boxes": f"42.1 ({EDGE_SAM_README})",
            "encoder and decoder on an iPhone 14": f"38.7 images/s ({EDGE_SAM_README})",
        },
    ),
    "edge-sam-3x": Variant(
        family="edge-sam",
        params=9_582_112,
        license="s-lab-1.0",
        commercial_use=False,
        good_for="phones: EdgeSAM taught on three times the images",
        repo="chongzhou/EdgeSAM",
        file="edge_sam_3x.pth",
        config=EDGE_SAM,
        published={
            "COCO mask AP, ViTDet-H boxes": f"42.7 ({EDGE_SAM_README})",
            "encoder and decoder on an iPhone 14": f"38.7 images/s ({EDGE_SAM_README})",
        },
    ),
    "repvit-sam": Variant(
        family="repvit-sam",
        params=27_223_480,
        license="apache-2.0",
        good_for="phones: convolutions only, larger and sharper than MobileSAM",
        file="repvit_sam.pt",
        url="https://github.com/THU-MIG/RepViT/releases/download/v1.0/repvit_sam.pt",
        config={
            "vision_config": {
                "model_type": "sam_hub_repvit",
                "hidden_sizes": [80, 160, 320, 640],
                "depths": [7, 7, 35, 2],
                "norm_after_sum": True,
                "fuse_stages": False,
            }
        },
        published={
            "COCO mask AP": "44.4 (RepViT-SAM's README)",
            "encoder on an iPhone 12": "48.9 ms (RepViT-SAM's README)",
        },
    ),
}

ALIASES = {"sam-vit-base": "sam-vit-b", "sam-vit-large": "sam-vit-l", "sam-vit-huge": "sam-vit-h"}


def list_models() -> list[str]:
    """Names that `SamModel.from_pretrained` knows, in catalogue order."""
    return list(ZOO)


def canonical_name(name: str) -> str | None:
    """The catalogue's name for ``name`` (any case, an alias, or a repository it is published in), or None."""
    lowered = name.lower().replace("_", "-")
    lowered = ALIASES.get(lowered, lowered)
    return lowered if lowered in ZOO else None


def nearest_names(name: str, count: int = 3) -> list[str]:
    """Catalogue names that look like ``name``, best first."""
    return difflib.get_close_matches(name.lower(), [*ZOO, *ALIASES], n=count, cutoff=0.4)
