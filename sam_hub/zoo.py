"""The catalogue: every checkpoint of the family as data. Standard library only.

Parameter counts were computed from the reference implementations. ``sha256`` is recorded only where it is
certain; ``published`` figures are their authors' own, each with its source.
"""

import difflib
from dataclasses import dataclass, field
from typing import Any

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


def _hq(encoder: dict, width: int) -> dict:
    """SAM-HQ's decoder, which reads early features of an encoder, ``width`` channels wide."""
    return {
        "vision_config": {**encoder["vision_config"], "output_intermediate": True},
        "mask_decoder_config": {"model_type": "sam_hub_hq_mask_decoder", "vit_dim": width},
    }


def _efficient_sam(width: int) -> dict:
    """EfficientSAM: a plain ViT with heads of 64, six slots for prompts, its own decoder."""
    return {
        "vision_config": {
            "model_type": "sam_hub_efficient_sam",
            "hidden_size": width,
            "num_attention_heads": width // 64,
        },
        "prompt_encoder_config": {"model_type": "sam_hub_efficient_sam_prompt_encoder"},
        "mask_decoder_config": {"model_type": "sam_hub_efficient_sam_mask_decoder"},
    }


def _efficientvit(depths: list[int], neck_depth: int, **larger: Any) -> dict:
    """EfficientViT-SAM, whose every norm has an eps of 1e-6, the decoder's too."""
    return {
        "vision_config": {
            "model_type": "sam_hub_efficientvit",
            "depths": depths,
            "neck_depth": neck_depth,
            **larger,
        },
        "mask_decoder_config": {"layer_norm_eps": 1e-6},
    }


EFFICIENTVIT_XL = {
    "widths": [32, 64, 128, 256, 512, 1024],
    "blocks": ["res", "fmb", "fmb", "fmb", "att", "att"],
    "expansions": [1, 4, 4, 4, 4, 6],
    "attention_kernel": 3,
    "neck_expansion": 4,
    "image_size": 1024,
    "patch_size": 16,
}
"""What XL0 and XL1 have in common, beside the defaults, which are L0's."""


def _published_efficientvit(coco: float, lvis: float, throughput: int) -> dict[str, str]:
    source = "EfficientViT-SAM's README"
    return {
        "COCO mask AP, ViTDet boxes": f"{coco} ({source})",
        "LVIS mask AP, ViTDet boxes": f"{lvis} ({source})",
        "end to end on an A100, TensorRT fp16": f"{throughput} images/s ({source})",
    }


MEDSAM = {
    "prompt_encoder_config": {"prompt_kinds": ["boxes"]},
    "preprocessing": {
        "resize_mode": "stretch",
        "resample": 3,  # Pillow's number of its bicubic filter
        "do_min_max": True,
        "mask_resize": "probability",
    },
}
"""How MedSAM prepares images and takes prompts (bowang-lab/MedSAM, ``MedSAM_Inference.py``).

It resizes with scikit-image, whose cubic spline and blur are not quite Pillow's bicubic filter.
"""

MICRO_SAM = "https://uk1s3.embassy.ebi.ac.uk/public-datasets/bioimage.io"


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
        params=27_961_776,
        license="apache-2.0",
        good_for="a pruned ViT-B, a third of its size",
        repo="Zigeng/SlimSAM-uniform-50",
        config=_pruned(384, 1536),
    ),
    "slimsam-77": Variant(
        family="sam",
        params=9_723_528,
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
    "sam-hq-vit-b": Variant(
        family="sam-hq",
        params=94_806_576,
        license="apache-2.0",
        good_for="finer outlines than sam-vit-b; one mask",
        repo="lkeab/hq-sam",
        file="sam_hq_vit_b.pth",
        sha256="14a9d662cd6f5a9c2dba6d40ab0058d88d287e4a18fd6fdc6ad5fb1a3fdeaa57",
        config=_hq(VIT_B, 768),
    ),
    "sam-hq-vit-l": Variant(
        family="sam-hq",
        params=313_676_080,
        license="apache-2.0",
        good_for="finer outlines than sam-vit-l; one mask",
        repo="lkeab/hq-sam",
        file="sam_hq_vit_l.pth",
        sha256="e1a6c385d62bf005ded91a54d5ec55c985cfc4103ef89c08d90f39f04934c343",
        config=_hq(VIT_L, 1024),
    ),
    "sam-hq-vit-h": Variant(
        family="sam-hq",
        params=642_686_000,
        license="apache-2.0",
        good_for="the finest outlines: thin and intricate objects; one mask",
        repo="lkeab/hq-sam",
        file="sam_hq_vit_h.pth",
        sha256="a7ac14a085326d9fa6199c8c698c4f0e7280afdbb974d2c4660ec60877b45e35",
        config=_hq(VIT_H, 1280),
    ),
    "sam-hq-light": Variant(
        family="sam-hq-light",
        params=10_256_964,
        license="apache-2.0",
        good_for="MobileSAM with finer outlines; one mask",
        repo="lkeab/hq-sam",
        file="sam_hq_vit_tiny.pth",
        sha256="0f32c075ccdd870ae54db2f7630e7a0878ede5a2b06d05d6fe02c65a82fb7196",
        config=_hq(TINY_VIT, 160),
        published={"COCO mask AP": "45.0, MobileSAM 44.3 (SAM-HQ's README)"},
    ),
    "efficient-sam-ti": Variant(
        family="efficient-sam",
        params=10_223_204,
        license="apache-2.0",
        good_for="small and plain; clicks on the object and boxes only",
        repo="yunyangx/EfficientSAM",
        file="efficient_sam_vitt.pt",
        url="https://github.com/yformer/EfficientSAM/raw/main/weights/efficient_sam_vitt.pt",
        config=_efficient_sam(192),
    ),
    "efficient-sam-s": Variant(
        family="efficient-sam",
        params=26_413_028,
        license="apache-2.0",
        good_for="the better EfficientSAM; clicks on the object and boxes only",
        repo="yunyangx/EfficientSAM",
        file="efficient_sam_vits.pt",
        url="https://github.com/yformer/EfficientSAM/raw/main/weights/efficient_sam_vits.pt.zip",
        sha256="339376940b92351ae26dd1162e2305a1cc6f5cde735105e91286251abd9a6b65",
        config=_efficient_sam(384),
    ),
    "efficientvit-sam-l0": Variant(
        family="efficientvit-sam",
        params=34_792_784,
        license="apache-2.0",
        good_for="speed on a GPU at 512 pixels",
        repo="mit-han-lab/efficientvit-sam",
        file="efficientvit_sam_l0.pt",
        sha256="c4f994b01a16d48bcf2fbbb089448cfbf58fae5811edfa8113c953b8b8cc64b8",
        image_size=512,
        config=_efficientvit([1, 1, 1, 4, 4], 4),
        published=_published_efficientvit(45.7, 41.8, 762),
    ),
    "efficientvit-sam-l1": Variant(
        family="efficientvit-sam",
        params=47_650_128,
        license="apache-2.0",
        good_for="between L0 and L2",
        repo="mit-han-lab/efficientvit-sam",
        file="efficientvit_sam_l1.pt",
        sha256="fa151df2b9b96896accd505470755cdd293a4c50cdabac95478f3fbd86d9152b",
        image_size=512,
        config=_efficientvit([1, 1, 1, 6, 6], 8),
        published=_published_efficientvit(46.2, 42.1, 638),
    ),
    "efficientvit-sam-l2": Variant(
        family="efficientvit-sam",
        params=61_328_592,
        license="apache-2.0",
        good_for="the best at 512 pixels",
        repo="mit-han-lab/efficientvit-sam",
        file="efficientvit_sam_l2.pt",
        sha256="d4bfd842224cbb99de09acc3325e81ac5b7e8725c8fbdab152305e5d934bfe4a",
        image_size=512,
        config=_efficientvit([1, 2, 2, 8, 8], 12),
        published=_published_efficientvit(46.6, 42.7, 538),
    ),
    "efficientvit-sam-xl0": Variant(
        family="efficientvit-sam",
        params=116_957_904,
        license="apache-2.0",
        good_for="a large model for a GPU; its authors report more than ViT-H's quality",
        repo="mit-han-lab/efficientvit-sam",
        file="efficientvit_sam_xl0.pt",
        sha256="9bc2f87bd23d6e6d1f7b5beff910f98835c7c333fac73e695bac0bec685968f8",
        config=_efficientvit([0, 1, 1, 2, 3, 3], 6, **EFFICIENTVIT_XL),
        published=_published_efficientvit(47.5, 43.9, 278),
    ),
    "efficientvit-sam-xl1": Variant(
        family="efficientvit-sam",
        params=203_346_128,
        license="apache-2.0",
        good_for="the best EfficientViT-SAM",
        repo="mit-han-lab/efficientvit-sam",
        file="efficientvit_sam_xl1.pt",
        sha256="10f42277679427c1183dcff19758e536aa86bcc4304e4b387ff48865784be05c",
        config=_efficientvit([1, 2, 2, 4, 6, 6], 12, **EFFICIENTVIT_XL),
        published=_published_efficientvit(47.8, 44.4, 182),
    ),
    "medsam": Variant(
        family="sam",
        params=93_735_472,
        license="apache-2.0",
        good_for="medical images, from boxes; ask for one mask",
        repo="wanglab/medsam-vit-base",
        revision="de8488bca37bb1d4fb190f612c516126d739ce3b",
        config={**VIT_B, **MEDSAM},
    ),
    "micro-sam-vit-b-lm": Variant(
        family="sam",
        params=93_735_472,
        license="see source",
        good_for="cells and nuclei in light microscopy",
        file="vit_b.pt",
        url=f"{MICRO_SAM}/diplomatic-bug/1.2/files/vit_b.pt",
        config=VIT_B,
    ),
    "micro-sam-vit-l-lm": Variant(
        family="sam",
        params=312_342_832,
        license="see source",
        good_for="cells and nuclei in light microscopy, a little better",
        file="vit_l.pt",
        url=f"{MICRO_SAM}/idealistic-rat/1.2/files/vit_l.pt",
        config=VIT_L,
    ),
    "micro-sam-vit-b-em": Variant(
        family="sam",
        params=93_735_472,
        license="see source",
        good_for="mitochondria and nuclei in electron microscopy",
        file="vit_b.pt",
        url=f"{MICRO_SAM}/noisy-ox/1.2/files/vit_b.pt",
        config=VIT_B,
    ),
    "micro-sam-vit-h-lm": Variant(
        family="sam",
        params=641_090_608,
        license="see source",
        good_for="light microscopy, the first version, for older work",
        file="vit_h_lm.pth",
        url="https://zenodo.org/record/8250299/files/vit_h_lm.pth",
        sha256="9a65ee0cddc05a98d60469a12a058859c89dc3ea3ba39fed9b90d786253fbf26",
        config=VIT_H,
    ),
}

FILES = {"medsam_vit_b.pth": "medsam"}
"""Names of original files that are published beside what the catalogue loads."""

ALIASES = {"sam-vit-base": "sam-vit-b", "sam-vit-large": "sam-vit-l", "sam-vit-huge": "sam-vit-h"}


def list_models() -> list[str]:
    """Names that `SamModel.from_pretrained` knows, in catalogue order."""
    return list(ZOO)


def canonical_name(name: str) -> str | None:
    """The catalogue's name for ``name`` (any case, an alias, or a repository that holds it alone), or None."""
    lowered = name.lower().replace("_", "-")
    lowered = ALIASES.get(lowered, lowered)
    if lowered in ZOO:
        return lowered
    published = [key for key, variant in ZOO.items() if variant.repo and variant.repo.lower() == name.lower()]
    return published[0] if len(published) == 1 else None


def variant_of_file(name: str) -> Variant | None:
    """The entry whose published file has this name. Weights do not tell everything: TinySAM's are as MobileSAM's."""
    if name in FILES:
        return ZOO[FILES[name]]
    found = [variant for variant in ZOO.values() if variant.file == name]
    return found[0] if len(found) == 1 else None


def nearest_names(name: str, count: int = 3) -> list[str]:
    """Catalogue names that look like ``name``, best first."""
    return difflib.get_close_matches(name.lower(), [*ZOO, *ALIASES], n=count, cutoff=0.4)
