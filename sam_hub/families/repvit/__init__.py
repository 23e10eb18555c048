"""EdgeSAM and RepViT-SAM: RepViT with SAM's decoder."""

from ..family import Family, Part, Variant

EDGE_SAM = {"vision_config": {"model_type": "sam_hub_repvit"}, "mask_decoder_config": {"rank_by": "stability"}}
EDGE_SAM_README = "EdgeSAM's README"

FAMILY = Family(
    name="repvit",
    position=30,
    encoders={
        "sam_hub_repvit": Part(
            config="sam_hub.families.repvit.configuration:RepVitVisionConfig",
            network="sam_hub.families.repvit.encoder:RepVitEncoder",
            rank_four="sam_hub.families.repvit.rank_four:RESTATED",
            tiny={"hidden_sizes": [8, 12, 16, 20], "depths": [3, 1, 3, 2]},
            tiny_states=5,
            softmax_attention=False,
        )
    },
    originals={
        "edge-sam": "sam_hub.families.repvit.original:EDGE_SAM",
        "repvit-sam": "sam_hub.families.repvit.original:REPVIT_SAM",
    },
    papers={
        "edge-sam": "Zhou et al. 2023, EdgeSAM, arXiv 2312.06660",
        "repvit-sam": "Wang et al. 2023, RepViT-SAM, arXiv 2312.05760",
    },
    goldens={
        "edge_sam": ("edge-sam", ("edge-sam", "edge-sam-3x")),
        "repvit_sam": ("repvit-sam", ("repvit-sam",)),
    },
    catalogue={
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
            good_for="phones: EdgeSAM trained on three times the images",
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
            good_for="phones: convolutions only, larger than MobileSAM, with sharper masks",
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
    },
)
