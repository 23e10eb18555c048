"""The options of `everything` that are arguments of `SamAutomaticMaskGenerator`."""

from dataclasses import asdict, dataclass
from typing import Annotated, Any

import typer


@dataclass(frozen=True)
class GeneratorOptions:
    """Options that are not given are None; numbers in brackets are the default preset's."""

    points_per_side: Annotated[int | None, typer.Option(min=1, help="Clicks along each side of the grid [32].")] = None
    points_per_batch: Annotated[
        int | None, typer.Option(min=1, help="Clicks decoded at once; fewer need less memory [64].")
    ] = None
    pred_iou_thresh: Annotated[
        float | None, typer.Option(min=0, max=1, help="Drop masks with a lower predicted IoU [0.88].")
    ] = None
    stability_score_thresh: Annotated[
        float | None, typer.Option(min=0, max=1, help="Drop masks with a lower stability score [0.95].")
    ] = None
    stability_score_offset: Annotated[
        float | None, typer.Option(min=0, help="Shift of the threshold, in logits, for the stability score [1.0].")
    ] = None
    box_nms_thresh: Annotated[
        float | None, typer.Option(min=0, max=1, help="Of two masks whose boxes overlap by more, keep one [0.7].")
    ] = None
    crop_n_layers: Annotated[
        int | None, typer.Option(min=0, max=4, help="Layers of crops to search as well: quarters, sixteenths, ... [0].")
    ] = None
    crop_nms_thresh: Annotated[
        float | None, typer.Option(min=0, max=1, help="Like --box-nms-thresh, between crops [0.7].")
    ] = None
    crop_overlap_ratio: Annotated[
        float | None, typer.Option(min=0, max=0.99, help="Overlap of crops, as a share of the short side [0.341].")
    ] = None
    crop_n_points_downscale_factor: Annotated[
        int | None, typer.Option(min=1, help="Divide the points per side by this in each further layer [1].")
    ] = None
    min_mask_region_area: Annotated[
        int | None, typer.Option(min=0, help="Remove holes and islands with fewer pixels [0].")
    ] = None
    tidy: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=0.5,
            metavar="SHARE",
            help="Drop specks and fill holes below this share of a mask; 0 for none [the model's own].",
        ),
    ] = None
    min_mask_area: Annotated[int | None, typer.Option(min=0, help="Drop masks with fewer pixels [0].")] = None
    max_mask_area_ratio: Annotated[
        float | None, typer.Option(min=0, max=1, help="Drop masks that cover a larger share of the photo [1.0].")
    ] = None
    non_overlapping: Annotated[
        bool | None, typer.Option("--non-overlapping", help="Give each pixel to the smallest mask that contains it.")
    ] = None
    skip_full_image: Annotated[
        bool | None, typer.Option("--skip-full-image", help="Search crops only; needs --crop-n-layers.")
    ] = None

    def given(self) -> dict[str, Any]:
        """Arguments by name, None where not given."""
        return asdict(self)
