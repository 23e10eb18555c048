"""`SamModel`: any encoder of the family, SAM's prompt encoder and mask decoder, as a transformers model.

Arguments, outputs and weight names are those of ``transformers.SamModel``, with its bugs fixed: padding is masked out
of the attention (there it changes the result), masks may be given per object, coordinates stay float32 in half
precision, any input size that the encoder's stride divides is accepted, unknown arguments are refused, ``labels`` give
a loss, and the norms use the original's eps.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers import initialization as init
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.utils import ModelOutput

from ..errors import PromptError
from ..families import registry
from ..ops.bounds import buildable, check_parameters
from .configuration_sam import SamConfig
from .encoders import EncoderOutput
from .fuse import fold_modules
from .loading import LoadingMixin
from .loss import check_labels, object_score_loss, resize_labels, segmentation_loss
from .mask_decoder import Decoded
from .original_calls import OriginalPromptCalls
from .original_interface import OriginalInterface
from .prompt_batch import objects_present
from .prompt_encoder import PositionalEmbedding
from .prompt_kinds import check_prompt_kinds
from .text_prompt import TextProjection, add_tokens


@dataclass
class SamImageSegmentationOutput(ModelOutput):
    """Result of `SamModel`.

    loss: scalar, when ``labels`` were given
    iou_scores: (B, N, M) predicted IoU of each mask
    pred_masks: (B, N, M, 4h, 4w) low-res mask logits in the frame of the padded input
    object_score_logits: (B, N, 1), whether there is an object, if the model predicts it
    vision_hidden_states, vision_attentions, mask_decoder_attentions: per layer, if requested
    """

    loss: Tensor | None = None
    iou_scores: Tensor | None = None
    pred_masks: Tensor | None = None
    object_score_logits: Tensor | None = None
    vision_hidden_states: tuple[Tensor, ...] | None = None
    vision_attentions: tuple[Tensor, ...] | None = None
    mask_decoder_attentions: tuple[Tensor, ...] | None = None


ZEROED = (
    "pos_embed",
    "position_embeddings",
    "pos_embed_window",
    "rel_pos_h",
    "rel_pos_w",
    "attention_biases",
    "no_memory_embedding",
)
"""Parameters that are initialised to 0, by name."""


def build(kind: str, config: PreTrainedConfig) -> nn.Module:
    """The network of a part; ``kind`` is one of `registry.KINDS`. ValueError for an unknown ``model_type``."""
    return registry.load(registry.part(kind, config.model_type).network)(config)


class SamPreTrainedModel(LoadingMixin, PreTrainedModel):
    config_class = SamConfig
    base_model_prefix = "sam"
    main_input_name = "pixel_values"
    input_modalities = ("image",)
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    # transformers stores the positional matrix twice; ours is one buffer.
    _keys_to_ignore_on_load_unexpected = [
        r"prompt_encoder\.shared_embedding\.positional_embedding",
        *registry.unread(),
    ]

    @classmethod
    def _can_set_attn_implementation(cls) -> bool:
        return True  # every attention layer reads the configuration at run time

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """PyTorch's defaults for linear and convolution layers, N(0, 1) for tokens and the Fourier matrix.

        ``transformers`` initialises every SAM weight with a standard deviation of 1e-10, too small to train from.
        """
        if isinstance(module, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
            init.kaiming_uniform_(module.weight, a=math.sqrt(5))
            if module.bias is not None:
                fan_in, _ = nn.init._calculate_fan_in_and_fan_out(module.weight)
                init.uniform_(module.bias, -1 / math.sqrt(fan_in), 1 / math.sqrt(fan_in))
        elif isinstance(module, nn.Embedding):
            init.normal_(module.weight)
        elif isinstance(module, nn.LayerNorm | nn.BatchNorm2d | nn.GroupNorm):
            init.ones_(module.weight)
            init.zeros_(module.bias)
            if isinstance(module, nn.BatchNorm2d):
                init.zeros_(module.running_mean)
                init.ones_(module.running_var)
                init.zeros_(module.num_batches_tracked)
        elif isinstance(module, PositionalEmbedding):
            init.normal_(module.positional_embedding)
        for name, parameter in module.named_parameters(recurse=False):
            if name in ZEROED:
                init.zeros_(parameter)


class SamModel(OriginalInterface, SamPreTrainedModel):
    """Segment Anything: an image and prompts -> masks with predicted IoU.

    Source: "Segment Anything" (Kirillov et al. 2023), ``segment_anything/modeling/sam.py``.
    """

    def __init__(self, config: SamConfig) -> None:
        super().__init__(config)
        with buildable():
            for part in (config.vision_config, config.mask_decoder_config):
                part._attn_implementation = config._attn_implementation
            self.shared_image_embedding = PositionalEmbedding(config.prompt_encoder_config.hidden_size // 2)
            self.vision_encoder = build("encoder", config.vision_config)
            self.prompt_encoder = build("prompt encoder", config.prompt_encoder_config)
            if isinstance(self.prompt_encoder, OriginalPromptCalls):
                self.prompt_encoder.positions = (self.shared_image_embedding,)
            self.mask_decoder = build("mask decoder", config.mask_decoder_config)
            self.no_memory_embedding = None
            if getattr(config.vision_config, "no_memory", False):
                self.no_memory_embedding = nn.Parameter(torch.zeros(1, 1, config.prompt_encoder_config.hidden_size))
            self.text_projection = None
            if config.text_embedding_size:
                self.text_projection = TextProjection(
                    config.text_embedding_size, config.prompt_encoder_config.hidden_size
                )
        check_parameters(self)
        # Recomputing a block in training would update the running statistics of its batch norms twice.
        self.supports_gradient_checkpointing = any(isinstance(m, GradientCheckpointingLayer) for m in self.modules())
        self.post_init()

    def fuse(self) -> "SamModel":
        """Fold batch norms and parallel convolutions into single convolutions, in place, for inference and export.

        Puts the model in evaluation mode. Outputs change by less than 1e-5; the weights no longer fit any
        checkpoint, so a fused model cannot be saved. Without batch norms there is nothing to fold.
        """
        self.eval()
        self.is_fused = fold_modules(self) > 0 or self.is_fused
        return self

    def get_input_embeddings(self) -> nn.Module:
        return self.vision_encoder

    def get_image_wide_positional_embeddings(self, size: tuple[int, int] | None = None) -> Tensor:
        """Fourier features of the embedding grid, (1, C, h, w); of the configured input size by default."""
        side = self.config.prompt_encoder_config.image_embedding_size
        return self.shared_image_embedding.grid(*(size or (side, side)))

    def encode(self, pixel_values: Tensor, **kwargs: bool) -> EncoderOutput:
        """Run the image encoder: (B, 3, H, W) -> embedding (B, C, h, w) and other features that the decoder needs."""
        encoded = self.vision_encoder(pixel_values.to(self.dtype), **kwargs)
        encoded.features = self.mask_decoder.encode_features(encoded.features)
        if self.no_memory_embedding is not None:
            encoded.embedding = encoded.embedding + self.no_memory_embedding.reshape(1, -1, 1, 1)
        return encoded

    def image_side_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Names and weights that `encode` uses: those of the encoder and of other parts that no prompt affects."""
        parts = (
            "vision_encoder.",
            "no_memory_embedding",
            *(f"mask_decoder.{n}." for n in self.mask_decoder.image_layers),
        )
        return ((name, value) for name, value in self.named_parameters() if name.startswith(parts))

    @torch.no_grad()
    def get_image_embeddings(self, pixel_values: Tensor) -> Tensor | tuple[Tensor, tuple[Tensor, ...]]:
        """The image embedding: (B, 3, H, W) -> (B, C, h, w); SAM-HQ gives a pair, see `EncoderOutput`."""
        output = self.encode(pixel_values)
        return (output.embedding, output.intermediate) if self.mask_decoder.feature_maps else output.embedding

    @torch.no_grad()
    def get_prompt_embeddings(
        self,
        input_points: Tensor | None = None,
        input_labels: Tensor | None = None,
        input_boxes: Tensor | None = None,
        input_masks: Tensor | None = None,
    ) -> tuple[Tensor | None, Tensor]:
        """Sparse (B, N, T, C) and dense (B, C, h, w), or (B, N, C, h, w) for a mask per object."""
        side = self.config.prompt_encoder_config.image_embedding_size
        sparse, dense, _ = self._embed_prompts((side, side), input_points, input_labels, input_boxes, input_masks)
        if input_masks is None:
            batch = 1 if sparse is None else sparse.shape[0]
            dense = dense.expand(batch, 1, -1, side, side)
        return sparse, dense.squeeze(1) if dense.shape[1] == 1 else dense

    def _embed_prompts(
        self,
        grid: tuple[int, int],
        points: Tensor | None,
        labels: Tensor | None,
        boxes: Tensor | None,
        masks: Tensor | None,
    ) -> tuple[Tensor | None, Tensor, Tensor | None]:
        """Check kinds and shapes, then run `PromptEncoder` for an embedding grid of (h, w)."""
        if points is not None:
            if points.dim() != 4 or points.shape[-1] != 2:
                raise ValueError(
                    f"input_points must be (images, objects, points, 2), x then y; got {tuple(points.shape)}"
                )
            if labels is None:
                labels = torch.ones(points.shape[:-1], dtype=torch.long, device=points.device)
            if labels.shape != points.shape[:-1]:
                raise ValueError(
                    f"input_labels must be {tuple(points.shape[:-1])} to match input_points; got {tuple(labels.shape)}"
                )
        elif labels is not None:
            raise ValueError("input_labels were given without input_points")
        if boxes is not None:
            if boxes.dim() != 3 or boxes.shape[-1] != 4:
                raise ValueError(f"input_boxes must be (images, objects, 4), x0, y0, x1, y1; got {tuple(boxes.shape)}")
            if points is not None and points.shape[:2] != boxes.shape[:2]:
                raise ValueError(
                    f"points are for {points.shape[1]} objects and boxes for {boxes.shape[1]}; "
                    "give the same number, padding with label -10 or coordinates -10"
                )
        if masks is not None:
            if masks.dim() == 3:  # one mask for each image, as transformers allows
                masks = masks[:, None]
            expected = (4 * grid[0], 4 * grid[1])
            if masks.dim() != 4 or masks.shape[-2:] != expected:
                raise ValueError(
                    f"input_masks must be low-res logits (images, objects or 1, {expected[0]}, {expected[1]}); "
                    f"got {tuple(masks.shape)}"
                )
        check_prompt_kinds(self.config.prompt_encoder_config.prompt_kinds, points, labels, boxes, masks)
        patch = self.config.prompt_encoder_config.patch_size
        size = (grid[0] * patch, grid[1] * patch)
        return self.prompt_encoder(self.shared_image_embedding, size, points, labels, boxes, masks)

    def predict_masks(self, *prompts: Any, **named: Any) -> tuple[Tensor, Tensor, list[Tensor | None]]:
        """`decode` without the object scores: every candidate mask, predicted IoU, attentions."""
        return self.decode(*prompts, **named)[:3]

    def decode(
        self,
        image_embeddings: Tensor,
        input_points: Tensor | None = None,
        input_labels: Tensor | None = None,
        input_boxes: Tensor | None = None,
        input_masks: Tensor | None = None,
        attention_similarity: Tensor | None = None,
        target_embedding: Tensor | None = None,
        intermediate: Mapping[str, Tensor] | Sequence[Tensor] = (),
        text_embeddings: Tensor | None = None,
    ) -> Decoded:
        """Every candidate mask of each prompt: see `MaskDecoder.forward`.

        image_embeddings: ``embedding`` of the `EncoderOutput`
        intermediate: ``features`` of the `EncoderOutput`, or a sequence of them in the order of ``feature_maps`` of the
            decoder; most decoders read none
        text_embeddings: (B, N, text_embedding_size), CLIP embeddings of texts, for a model with a text projection
        """
        prompts = input_points, input_labels, input_boxes, input_masks, text_embeddings
        if any(t is not None and t.dim() > 2 and t.shape[1] == 0 for t in prompts):
            return self._decode_nothing(image_embeddings, prompts, intermediate)
        features = self.mask_decoder.named_features(intermediate)
        grid = tuple(image_embeddings.shape[-2:])
        sparse, dense, valid = self._embed_prompts(grid, input_points, input_labels, input_boxes, input_masks)
        if text_embeddings is not None:
            if self.text_projection is None:
                raise PromptError("this model takes no text; give points or a box, or use a detector")
            sparse, valid = add_tokens(sparse, valid, self.text_projection(text_embeddings))
        for name, t in (("prompts", sparse), ("masks", dense)):
            if t is not None and t.shape[0] not in (1, image_embeddings.shape[0]):
                raise ValueError(f"{image_embeddings.shape[0]} images but {name} for {t.shape[0]}")
        image_pe = self.get_image_wide_positional_embeddings(grid)
        found = self.mask_decoder(
            image_embeddings, image_pe, sparse, dense, valid, attention_similarity, target_embedding, features
        )
        return Decoded(*found)

    def _decode_nothing(
        self, image_embeddings: Tensor, prompts: tuple[Tensor | None, ...], intermediate: Any
    ) -> Decoded:
        """`decode` for zero objects: decodes one object and returns none."""
        one = [None if t is None else t.new_ones(len(t), 1, *(max(1, n) for n in t.shape[2:])) for t in prompts]
        found = self.decode(image_embeddings, *one[:4], intermediate=intermediate, text_embeddings=one[4])
        scores = None if found.object_scores is None else found.object_scores[:, :0]
        return Decoded(found.masks[:, :0], found.iou[:, :0], [None for _ in found.attentions], scores)

    def forward(
        self,
        pixel_values: Tensor | None = None,
        input_points: Tensor | None = None,
        input_labels: Tensor | None = None,
        input_boxes: Tensor | None = None,
        input_masks: Tensor | None = None,
        image_embeddings: Tensor | None = None,
        multimask_output: bool = True,
        attention_similarity: Tensor | None = None,
        target_embedding: Tensor | None = None,
        intermediate_embeddings: Mapping[str, Tensor] | Sequence[Tensor] = (),
        num_multimask_outputs: int | None = None,
        hq_token_only: bool = False,
        labels: Tensor | None = None,
        output_hidden_states: bool | None = None,
        output_attentions: bool | None = None,
        return_dict: bool | None = None,
        original_sizes: Any = None,
        reshaped_input_sizes: Any = None,
        batched_input: Sequence[Mapping[str, Any]] | None = None,
    ) -> SamImageSegmentationOutput | tuple | list[dict[str, Tensor]]:
        """Predict masks for N objects in each of B images.

        pixel_values: (B, 3, H, W), or image_embeddings: (B, C, h, w) from `get_image_embeddings` or `encode`
        input_points: (B, N, P, 2), x then y, in pixels of the resized image
        input_labels: (B, N, P), 1 object, 0 background, -1 not a point, -10 padding; all 1 by default
        input_boxes: (B, N, 4), x0, y0, x1, y1, in pixels of the resized image; all four -10 for no box
        input_masks: (B, N or 1, 4h, 4w) or (B, 4h, 4w) low-res logits, usually ``pred_masks`` of the previous step
        multimask_output: three masks (for an ambiguous prompt such as a single click) or one
        attention_similarity, target_embedding: PerSAM's guidance, as in ``transformers``
        intermediate_embeddings: `EncoderOutput.features`, which some decoders need beside image_embeddings
        num_multimask_outputs: 1, 3 or 4 masks (the one, then the three) instead of multimask_output, as in EdgeSAM
        hq_token_only: only SAM-HQ's own mask, without SAM's
        labels: (B, N, H, W), or (B, H, W) for one object an image: masks in {0, 1} in the frame of the padded input, at
            any resolution, for ``loss``
        original_sizes: accepted so that ``model(**inputs)`` works; ignored
        reshaped_input_sizes: (B, 2), only used to detect a processor with another coordinate frame
        batched_input: images and prompts as ``segment_anything`` takes them, for `predict_batch`; may be the first
            positional argument
        raises: ValueError for shapes that do not fit; PromptError for prompts that the model does not take
        """
        if isinstance(pixel_values, list | tuple):
            batched_input = pixel_values
        if batched_input is not None:
            many = input_points if isinstance(input_points, bool) else multimask_output
            return self.predict_batch(batched_input, many)
        if hq_token_only and "hq" not in self.config.capabilities.extra_tokens:
            raise ValueError("hq_token_only is for SAM-HQ; this model has no HQ token")
        if num_multimask_outputs is not None and max(self.config.capabilities.masks) == 1:
            raise ValueError("num_multimask_outputs is not for a model that gives one mask; use multimask_output")
        if (pixel_values is None) == (image_embeddings is None):
            raise ValueError("give either pixel_values or image_embeddings")
        hidden = self.config.output_hidden_states if output_hidden_states is None else output_hidden_states
        weights = self.config.output_attentions if output_attentions is None else output_attentions
        vision = None
        if pixel_values is not None:
            vision = self.encode(pixel_values, output_hidden_states=hidden, output_attentions=weights)
            image_embeddings, intermediate_embeddings = vision.embedding, vision.features

        if reshaped_input_sizes is not None and not torch.compiler.is_compiling():
            self._check_frame(reshaped_input_sizes, tuple(image_embeddings.shape[-2:]))
        masks, iou, attentions, object_scores = self.decode(
            image_embeddings,
            input_points,
            input_labels,
            input_boxes,
            input_masks,
            attention_similarity,
            target_embedding,
            intermediate_embeddings,
        )
        only = {"hq_token_only": True} if hq_token_only else {}
        if num_multimask_outputs is not None:
            only["count"] = num_multimask_outputs
        masks, iou = self.mask_decoder.select_masks(masks, iou, multimask_output, **only)

        loss = None
        if labels is not None:
            target = resize_labels(check_labels(labels, tuple(masks.shape[:2])), masks.shape[-2:])
            present = objects_present(input_labels, input_boxes, input_masks)
            loss = segmentation_loss(masks, iou, target, present)
            if object_scores is not None:
                loss = loss + object_score_loss(object_scores, target, present)
        output = SamImageSegmentationOutput(
            loss=loss,
            iou_scores=iou,
            pred_masks=masks,
            object_score_logits=object_scores,
            vision_hidden_states=vision.hidden_states if vision else None,
            vision_attentions=vision.attentions if vision else None,
            mask_decoder_attentions=tuple(attentions) if weights else None,
        )
        return output if return_dict in (None, True) else output.to_tuple()

    def _check_frame(self, reshaped_input_sizes: Any, grid: tuple[int, int]) -> None:
        """ValueError for images (B, 2) that are larger than an embedding grid of (h, w)."""
        patch = self.config.prompt_encoder_config.patch_size
        frame, largest = patch * max(grid), int(torch.as_tensor(reshaped_input_sizes).max())
        if largest > frame:
            raise ValueError(
                f"the processor counts coordinates to {largest}, and the model to {frame}; leave all its sizes but "
                "size out to have them follow it"
            )
