"""SAM 3: clicks and boxes as in SAM 2 on a larger ViT, and every instance of what words or examples mean."""

from ..family import Family

FAMILY = Family(
    name="sam3",
    position=47,
    concepts="sam_hub.families.sam3.concepts:ConceptModel",
)
