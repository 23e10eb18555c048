"""Concept prompts: words or example boxes -> all matching instances, with masks, scores and boxes.

Source: "SAM 3: Segment Anything with Concepts" (Carion et al. 2025), ``sam3/model/sam3_image.py``. The detector is that
of ``transformers``, with our encoder and the same weight names. In addition, it supports several texts for one image,
different numbers of images and texts, text embeddings as a tensor, and other input sizes; it does not need torchvision.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig
from transformers import initialization as init
from transformers.models.sam3.configuration_sam3 import Sam3Config
from transformers.models.sam3.modeling_sam3 import (
    Sam3GeometryEncoder,
    Sam3ImageSegmentationOutput,
    Sam3Model,
    Sam3VisionEncoderOutput,
    box_cxcywh_to_xyxy,
)
from transformers.utils import ModelOutput

from ... import convert
from ...errors import CheckpointError, ModelNotFoundError
from ...hub.download import Repository
from ...hub.failures import explained
from ...hub.places import WHERE, locate
from ...models.box_pooling import pool_boxes
from ...ops.bounds import buildable, check_settings
from ..layout import rename
from .configuration import TRUNK_EPS, Sam3VisionConfig, vision_settings
from .encoder import Embeddings, Sam3Encoder
from .original import CONCEPTS

TRUNK = "vision_encoder.backbone."
"""The ViT, shared by clicks and words."""


def _published_name(key: str) -> str:
    """Name of a click predictor's weight in the published repository."""
    if key.startswith(TRUNK):
        return f"detector_model.{key}"
    if key.startswith("vision_encoder.neck."):
        return key.replace("vision_encoder.neck.", "tracker_neck.")
    return f"tracker_model.{key}"


class BoxEncoder(Sam3GeometryEncoder):
    """Tokens of example boxes, without torchvision."""

    def _encode_boxes(
        self, boxes: Tensor, boxes_mask: Tensor, boxes_labels: Tensor, vision_features: Tensor
    ) -> tuple[Tensor, Tensor]:
        """boxes: (B, K, 4), centre and size in 0..1; labels: (B, K); features: (B, C, h, w) -> (B, K, C), mask"""
        height, width = vision_features.shape[-2:]
        scale = boxes.new_tensor([width, height, width, height])
        cells = pool_boxes(vision_features, box_cxcywh_to_xyxy(boxes) * scale, self.roi_size)
        pooled = self.boxes_pool_project(cells).view(*boxes.shape[:2], self.hidden_size)
        places = self._encode_box_coordinates(*boxes.flatten(0, 1).unbind(-1)).view(*boxes.shape[:2], -1)
        tokens = self.boxes_direct_project(boxes) + pooled + self.boxes_pos_enc_project(places)
        return self.label_embed(boxes_labels.long()) + tokens, boxes_mask


def concept_config(settings: Mapping[str, Any]) -> Sam3Config | None:
    """The detector's configuration within one of ``transformers``, or None.

    settings: of ``sam3``, or of ``sam3_video``, which contains detector and tracker
    """
    if "detector_config" in settings:
        settings = settings["detector_config"] or {}
    elif settings.get("model_type") != "sam3":
        return None
    config = Sam3Config(**{key: value for key, value in settings.items() if key != "model_type"})
    if config.vision_config.backbone_config.layer_norm_eps == 1e-6:
        config.vision_config.backbone_config.layer_norm_eps = TRUNK_EPS
    return config


def check_loaded(source: str, info: Mapping[str, Any]) -> None:
    """Check that all weights were found with the right shapes. raises: CheckpointError"""
    faults = {kind: info[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys") if info[kind]}
    if faults:
        named = "; ".join(f"{kind.split('_')[0]}: {convert.some(sorted(map(str, k)))}" for kind, k in faults.items())
        raise CheckpointError(f"the weights of {source} do not fit its config.json ({named})")


class ConceptModel(Sam3Model):
    """``transformers.Sam3Model`` with our encoder: an image and a concept -> masks, boxes and scores of instances."""

    tokenizer_place: str = ""  # folder or repository that it was loaded from, which may contain its tokenizer
    tokenizer_options: Mapping[str, Any] = {}  # its revision, token, ...

    def __init__(self, config: Sam3Config) -> None:
        super().__init__(config)
        vision = Sam3VisionConfig(**vision_settings(config.vision_config.to_dict()))
        vision._attn_implementation = config._attn_implementation
        self.vision_encoder = Sam3Encoder(vision, config.vision_config.scale_factors)
        self.geometry_encoder = BoxEncoder(config.geometry_encoder_config)
        self.post_init()

    @classmethod
    def from_pretrained(cls, name: str | Path, **kwargs: Any) -> "ConceptModel":
        """Load a catalogue name, a folder, ``sam3.pt`` or a Hub repository, without the parts for clicks and videos.

        name: see `sam_hub.hub.locate`; other arguments: as in ``transformers`` (dtype, revision, token, ...)
        raises: ModelNotFoundError for a model without text prompts; HubError; CheckpointError
        """
        place = locate(name, kwargs.get("subfolder") or "")
        if place.file:
            return cls.from_original(place.file, **kwargs)
        if place.original:
            raise ModelNotFoundError(f"{name} takes no text; `sam-hub zoo` lists models that do")
        source = place.repo or str(place.folder)
        if place.repo:
            repository = Repository.of(source, kwargs, place.variant.revision if place.variant else "")
            kwargs["revision"] = repository.fetch_model()
            kwargs.pop("force_download", None)
        with explained(source, kwargs.get("revision")), buildable():
            where = {name: kwargs[name] for name in WHERE if name in kwargs}
            settings, _ = PreTrainedConfig.get_config_dict(source, **where)
            for part in (settings, settings.get("detector_config") or {}):
                check_settings(part, source)
            config = concept_config(settings)
            if config is None:
                raise ModelNotFoundError(f"{source} takes no text; `sam-hub zoo` lists models that do")
            model, info = super().from_pretrained(source, config=config, output_loading_info=True, **kwargs)
        check_loaded(source, info)
        model.tokenizer_place, model.tokenizer_options = source, where
        return model

    @classmethod
    def from_original(cls, file: Path, **kwargs: Any) -> "ConceptModel":
        """Load the detector of ``sam3.pt``, without executing pickled code.

        raises: ModelNotFoundError for another model's file; CheckpointError
        """
        weights = convert.read_checkpoint(file)
        shapes = {key: tuple(value.shape) for key, value in weights.items()}
        if not CONCEPTS.fits(shapes):
            raise ModelNotFoundError(f"{file} takes no text; `sam-hub zoo` lists models that do")
        config = Sam3Config(**CONCEPTS.config(shapes))
        weights = convert.renamed(weights, CONCEPTS, str(file))
        with torch.device("meta"):
            expected = {key: tuple(value.shape) for key, value in cls(config).state_dict().items()}
        convert.check_complete(expected, weights)
        return super().from_pretrained(None, config=config, state_dict=weights, **kwargs)

    def beside_clicks(
        self, clicks: Mapping[str, Any], weights: Mapping[str, Tensor]
    ) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """Combine a click predictor and this detector in the layout in which SAM 3 is published.

        clicks: configuration as written by `SamConfig`; weights: of `SamModel`, whose ViT is used for both parts
        returns: configuration and weights of ``transformers.Sam3VideoModel``, without the parts only for videos
        """
        tracker = {**clicks, "model_type": "sam3_tracker_video"}
        kept = {name: tracker.pop(name) for name in ("preprocessing", "generation", "tidy", "dtype") if name in tracker}
        detector = {**self.config.to_dict(), "model_type": "sam3"}
        detector["vision_config"] |= {"backbone_config": clicks["vision_config"]["backbone_config"]}
        config = {
            **kept,
            "model_type": "sam3_video",
            "architectures": ["Sam3VideoModel"],
            "detector_config": detector,
            "tracker_config": tracker,
        }
        own = {f"detector_model.{key}": value for key, value in self.state_dict().items() if not key.startswith(TRUNK)}
        return config, {**own, **{_published_name(key): value for key, value in weights.items()}}

    def to_original(self) -> dict[str, Tensor]:
        """The weights under their names in ``sam3.pt``."""
        weights = self.state_dict()
        return CONCEPTS.join({rename(key, CONCEPTS.rules, back=True): value for key, value in weights.items()})

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, Embeddings):
            init.normal_(module.position_embeddings, std=self.config.initializer_range)

    def maps(self, pixel_values: Tensor | None = None, trunk: Tensor | None = None) -> list[Tensor]:
        """Maps (B, C, 4h, 4w), (B, C, 2h, 2w) and (B, C, h, w) from an image, or from the ViT's output (B, D, h, w)."""
        if trunk is None:
            trunk, _, _ = self.vision_encoder.backbone(pixel_values.to(self.dtype))
        return self.vision_encoder.neck(trunk)

    def embed_text(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """(T, L) token ids -> (T, L, C)"""
        return self.get_text_features(input_ids, attention_mask, return_dict=True).pooler_output

    def forward(
        self,
        pixel_values: Tensor | None = None,
        vision_embeds: Sequence[Tensor] | Sam3VisionEncoderOutput | None = None,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        text_embeds: Tensor | ModelOutput | None = None,
        input_boxes: Tensor | None = None,
        input_boxes_labels: Tensor | None = None,
        **kwargs: Any,
    ) -> Sam3ImageSegmentationOutput:
        """One concept for each of B images, T concepts for one image, or one for all images: N = max(B, T) results.

        pixel_values: (B, 3, H, W), or vision_embeds: the result of `maps`
        input_ids: (T, L), or text_embeds: (T, L, C) from `embed_text`; attention_mask: (T, L), 0 at padding
        input_boxes: (N or 1, K, 4) example boxes, centre and size in 0..1; input_boxes_labels: (N or 1, K): 1 positive,
            0 negative, -10 padding
        returns: pred_masks (N, Q, 4h, 4w) logits, pred_boxes (N, Q, 4) x0, y0, x1, y1 in 0..1, pred_logits (N, Q),
            presence_logits (N, 1), semantic_seg (N, 1, 4h, 4w) logits. An instance's score is the product of the
            sigmoids of its logit and of the presence logit.
            raises: ValueError for incompatible numbers of images, texts and boxes
        """
        if (pixel_values is None) == (vision_embeds is None):
            raise ValueError("give either pixel_values or vision_embeds")
        if (input_ids is None) == (text_embeds is None):
            raise ValueError("give either input_ids or text_embeds")
        if text_embeds is None:
            text_embeds = self.embed_text(input_ids, attention_mask)
        elif not isinstance(text_embeds, Tensor):
            text_embeds = text_embeds.pooler_output
        if vision_embeds is None:
            vision_embeds = self.maps(pixel_values)
        maps = list(getattr(vision_embeds, "fpn_hidden_states", vision_embeds))[:3]

        counts = {"images": len(maps[0]), "texts": len(text_embeds)}
        if input_boxes is not None:
            counts["sets of boxes"] = len(input_boxes)
        n = max(counts.values())
        if any(count not in (1, n) for count in counts.values()):
            raise ValueError(f"the numbers must be equal or 1; got {counts}")

        def each(t: Tensor | None) -> Tensor | None:
            return t if t is None or len(t) == n else t.expand(n, *t.shape[1:])

        maps = [each(m) for m in maps]
        position = self.geometry_encoder.position_encoding(maps[-1].shape, maps[-1].device, maps[-1].dtype)
        return super().forward(
            vision_embeds=Sam3VisionEncoderOutput(
                fpn_hidden_states=(*maps, None), fpn_position_encoding=(None, None, position, None)
            ),
            text_embeds=ModelOutput(pooler_output=each(text_embeds)),
            attention_mask=each(attention_mask),
            input_boxes=each(input_boxes),
            input_boxes_labels=each(input_boxes_labels),
            **kwargs,
        )
