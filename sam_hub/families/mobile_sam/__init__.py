"""MobileSAM and TinySAM: TinyViT with SAM's decoder."""

from ..family import Family, Part, Variant

TINY_VIT = {"vision_config": {"model_type": "sam_hub_tiny_vit"}}
EDGE_SAM_README = "EdgeSAM's README"

FAMILY = Family(
    name="mobile_sam",
    position=20,
    encoders={
        "sam_hub_tiny_vit": Part(
            config="sam_hub.families.mobile_sam.configuration:TinyVitVisionConfig",
            network="sam_hub.families.mobile_sam.encoder:TinyVitEncoder",
            rank_four="sam_hub.families.mobile_sam.rank_four:RESTATED",
            bfloat16=True,
            tiny={
                "hidden_sizes": [8, 16, 20, 24],
                "depths": [1, 1, 2, 1],
                "num_attention_heads": [2, 4, 3],
                "window_sizes": [5, 4, 6],
                "mlp_ratio": 2.0,
                "expansion": 2,
            },
            tiny_states=5,
        )
    },
    aliases={"vit-t": "mobile-sam"},
    originals={"mobile-sam": "sam_hub.families.mobile_sam.original:MOBILE_SAM"},
    papers={
        "mobile-sam": "Zhang et al. 2023, Faster Segment Anything (MobileSAM), arXiv 2306.14289",
        "tinysam": "Shu et al. 2023, TinySAM, arXiv 2312.13789",
    },
    goldens={"mobile_sam": ("mobile-sam", ("mobile-sam", "tinysam"))},
    catalogue={
        "mobile-sam": Variant(
            family="mobile-sam",
            params=9_808_452,
            license="apache-2.0",
            good_for="the best-known small model; SAM's decoder",
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
            good_for="MobileSAM's network, better distilled; always three masks",
            repo="merve/tinysam",
            file="tinysam_42.3.pth",
            url="https://github.com/xinghaochen/TinySAM/releases/download/3.0/tinysam_42.3.pth",
            config={**TINY_VIT, "mask_decoder_config": {"always_multimask": True}},
            published={"COCO mask AP, ViTDet-H boxes": "42.3 (TinySAM's README)"},
        ),
    },
)
