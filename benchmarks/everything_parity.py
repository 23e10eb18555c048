"""Everything mode's masks against the original generator's: every output mode, with and without crops.

For a SAM ViT, the original's side runs the original's encoder; else both run the model's. Output modes differ only in
the last step, so the earlier steps run once for all three.
"""

import copy
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pycocotools import mask as coco_mask
from torch import Tensor, nn

from sam_hub import SamAutomaticMaskGenerator, SamConfig, SamModel, SamPredictor
from sam_hub.data.discovery import open_dataset
from sam_hub.models.configuration_sam import SamMaskDecoderConfig
from sam_hub.models.fine_decoder import FineMaskDecoder
from sam_hub.ops.images import read_image
from sam_hub.ops.masks import compress_rle, mask_to_rle
from sam_hub.zoo import ZOO

MODES = ("binary_mask", "uncompressed_rle", "coco_rle")
LAYERS = (0, 1)
MATCH, SHARE = 0.99, 0.995
"""To pass: this IoU for this share of the original's masks, no extra masks, and the same order."""
CROPS = 1 + 4

RANDOM_THRESHOLDS = {"pred_iou_thresh": 0.3, "stability_score_thresh": 0.5, "stability_score_offset": 0.5}


def random_model(name: str, input_size: int | None = None) -> SamModel:
    """The architecture of a catalogue entry with a random encoder, and `pocket`'s prompt encoder and mask decoder.

    Those have SAM's shape. With a random decoder as well, every mask covers the whole photo and NMS leaves only one.
    input_size: side of the input in pixels; default: the entry's
    """
    torch.manual_seed(0)
    config = SamConfig(**ZOO[name].config)
    if input_size:
        config.vision_config.image_size = config.prompt_encoder_config.image_size = input_size
    model = SamModel(config).eval().requires_grad_(False)
    borrow_decoder(model)
    for key, weight in model.vision_encoder.named_parameters():
        if "norm" in key and key.endswith("weight"):
            weight.normal_(1, 0.1)
        elif weight.dim() < 2:
            weight.normal_(0, 0.1)
        elif "rel_pos" in key or "pos_embed" in key:
            weight.normal_(0, 0.2)
        else:
            weight.normal_(0, weight[0].numel() ** -0.5)
    last = getattr(model.vision_encoder.neck, "layer_norm2", None)
    if last is None:
        quieten(model)
        return model
    last.weight.mul_(0.5)  # half of pocket's, for more and smaller masks
    last.bias.mul_(0.5)
    return model


@torch.no_grad()
def quieten(model: SamModel) -> None:
    """Scale the maps of SAM 2's neck to the magnitude that `pocket`'s decoder was trained on."""
    image = read_image(Path(__file__).resolve().parents[1] / "examples" / "astronaut.jpg")
    pixels = SamPredictor(model).processor(image, return_tensors="pt")["pixel_values"]
    encoded = model.vision_encoder(pixels)
    coarsest, coarse, middle, fine = model.vision_encoder.neck.convs
    for convs, found, wanted in (
        ((coarsest, coarse), encoded.embedding, 0.5),
        ((middle,), encoded.features["stride_8"], 0.2),
        ((fine,), encoded.features["stride_4"], 0.2),
    ):
        for conv in convs:
            conv.weight.mul_(wanted / found.std())
            conv.bias.zero_()


def borrow_decoder(model: SamModel) -> None:
    """Copy `pocket`'s prompt encoder and decoder where layers match; SAM 2 names some differently."""
    trained, own = SamModel.from_pretrained("pocket").state_dict(), model.state_dict()
    points = [trained[f"prompt_encoder.point_embed.{i}.weight"] for i in range(4)]
    found = {"prompt_encoder.point_embed.weight": torch.cat(points), **trained}
    names = {"out_proj": "o_proj", "mlp.lin1": "mlp.proj_in", "mlp.lin2": "mlp.proj_out"}
    for old, new in names.items():
        found |= {key.replace(f".{old}.", f".{new}."): value for key, value in trained.items() if f".{old}." in key}
    fits = {key: value for key, value in found.items() if key in own and own[key].shape == value.shape}
    model.load_state_dict({k: v for k, v in fits.items() if not k.startswith("vision_encoder.")}, strict=False)


def without_finer_features(model: SamModel) -> SamModel:
    """The model with SAM's own decoder and otherwise the same weights: no other library reads `pocket`'s maps."""
    if type(model.mask_decoder) is not FineMaskDecoder:
        return model
    config = SamConfig.from_dict(model.config.to_dict())
    decoder = {k: getattr(config.mask_decoder_config, k) for k in SamMaskDecoderConfig().to_dict() if k != "model_type"}
    config.mask_decoder_config = SamMaskDecoderConfig(**decoder)
    config.vision_config.output_fine_features = False
    plain = SamModel(config)
    plain.load_state_dict(model.state_dict(), strict=False)
    return plain


def pictures(path: Path, limit: int) -> Iterator[np.ndarray]:
    """The photo of a file, or the first photos of a data set."""
    if path.is_dir() or path.suffix in (".tar", ".json"):
        dataset = open_dataset(path)
        yield from (dataset[index].image for index in range(min(limit, len(dataset))))
    else:
        yield read_image(path)


class KeptEncoder(nn.Module):
    """The original's image encoder, with a cache of one photo's crops."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder, self.img_size = encoder, encoder.img_size
        self.kept: deque[tuple[Tensor, Tensor]] = deque(maxlen=CROPS)

    def forward(self, x: Tensor) -> Tensor:
        for seen, embedding in self.kept:
            if torch.equal(seen, x):
                return embedding
        self.kept.append((x, self.encoder(x)))
        return self.kept[-1][1]


@dataclass
class Tally:
    """Totals over photos: the original's masks, ours, matches, and whether the order is the same."""

    photos: int = 0
    masks: int = 0
    ours: int = 0
    matched: int = 0
    same_order: bool = True
    same_form: bool = True

    @property
    def extra(self) -> int:
        return self.ours - self.matched

    @property
    def holds(self) -> bool:
        return self.masks > 0 and self.matched >= SHARE * self.masks and self.extra == 0 and self.in_order

    @property
    def in_order(self) -> bool:
        return self.same_order and self.same_form

    def add(self, ours: list[dict[str, Any]], theirs: list[dict[str, Any]]) -> None:
        """Match records one to one, by IoU among those of the same click and crop."""
        self.photos += 1
        self.masks += len(theirs)
        self.ours += len(ours)
        waiting: dict[Any, list[int]] = {}
        for i, record in enumerate(ours):
            waiting.setdefault(_origin(record), []).append(i)
        pairs = []
        for record in theirs:
            free = waiting.get(_origin(record), [])
            if not free:
                continue
            overlap = coco_mask.iou([_rle(ours[i]) for i in free], [_rle(record)], [0])[:, 0]
            if overlap.max() >= MATCH:
                pairs.append((free.pop(int(overlap.argmax())), record))
        self.matched += len(pairs)
        self.same_order &= all(a < b for (a, _), (b, _) in pairwise(pairs))
        self.same_form &= all(_form(ours[i]) == _form(record) for i, record in pairs)


def _origin(record: dict[str, Any]) -> tuple:
    (point,) = record["point_coords"]
    return tuple(np.round(point, 3)), tuple(record["crop_box"])


def _form(record: dict[str, Any]) -> tuple:
    """The record's fields in order, with the types of their values."""
    segmentation = record["segmentation"]
    inside = segmentation.dtype if isinstance(segmentation, np.ndarray) else type(segmentation["counts"])
    return tuple(record), inside, tuple(_size(segmentation))


def _size(segmentation: Any) -> Iterable[int]:
    return segmentation.shape if isinstance(segmentation, np.ndarray) else segmentation["size"]


def _rle(record: dict[str, Any]) -> dict[str, Any]:
    segmentation = record["segmentation"]
    if isinstance(segmentation, np.ndarray):
        return mask_to_rle(segmentation)
    return segmentation if isinstance(segmentation["counts"], str) else compress_rle(segmentation)


def compare(
    model: SamModel, photos: Iterable[np.ndarray], points: int, arguments: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    """A row per number of crop layers and output mode."""
    import original

    sam = original.original_sam(model)
    sam.image_encoder = KeptEncoder(sam.image_encoder)
    predictor = SamPredictor(model, cache_size=CROPS)
    tallies = {(layers, mode): Tally() for layers in LAYERS for mode in MODES}
    for photo in photos:
        for layers in LAYERS:
            settings = dict(arguments, points_per_side=points, crop_n_layers=layers)
            ours = SamAutomaticMaskGenerator(predictor, **settings)
            theirs = original.load().SamAutomaticMaskGenerator(sam, **settings)
            ours._find = _kept(ours._find)
            theirs._generate_masks = _kept(theirs._generate_masks)
            for mode in MODES:
                ours.output_mode = theirs.output_mode = mode
                with torch.inference_mode():
                    tallies[layers, mode].add(ours.generate(photo), theirs.generate(photo))
        told = {layers: (t.matched, t.masks, t.ours, t.in_order) for (layers, mode), t in tallies.items()}
        print("matched, masks, ours, in order:", told, file=sys.stderr, flush=True)
    for (layers, mode), tally in tallies.items():
        yield {
            "crop_layers": layers,
            "mode": mode,
            "photos": tally.photos,
            "masks": tally.masks,
            "matched": round(tally.matched / max(tally.masks, 1), 5),
            "extra": tally.extra,
            "same_order": tally.in_order,
            "holds": tally.holds,
        }


def _kept(function: Callable[..., Any]) -> Callable[..., Any]:
    """Cache the first call's result and return copies of it."""
    results: list[Any] = []

    def call(*arguments: Any) -> Any:
        if not results:
            results.append(function(*arguments))
        return copy.deepcopy(results[0])

    return call
