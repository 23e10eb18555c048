"""micro-sam: SAM's network, trained on microscopy."""

from ..family import Family, Variant
from ..sam import VIT_B, VIT_H, VIT_L

MICRO_SAM = "https://uk1s3.embassy.ebi.ac.uk/public-datasets/bioimage.io"


FAMILY = Family(
    name="micro_sam",
    position=80,
    papers={"micro-sam": "Archit et al. 2025, Segment Anything for Microscopy, Nature Methods"},
    goldens={"sam_vit_b": ("sam", ("micro-sam-vit-b-lm", "micro-sam-vit-b-em"))},
    catalogue={
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
    },
)
