"""Prompt tokens and image embedding -> masks and predicted IoU (original: ``modeling/mask_decoder.py``)."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .configuration_parts import SamMaskDecoderConfig
from .layers import Attention, FeedForward, LayerNorm2d, Mlp
from .original_calls import OriginalDecoderCalls


class TwoWayBlock(nn.Module):
    """Tokens attend to themselves and to the image, pass an MLP, then the image attends to the tokens."""

    attention: type[Attention] = Attention
    feed_forward: Callable[[int, int, str], nn.Module] = Mlp

    def __init__(self, config: SamMaskDecoderConfig, first: bool) -> None:
        super().__init__()
        c, eps, rate = config.hidden_size, config.layer_norm_eps, config.attention_downsample_rate
        self.first = first  # in the first block: no positions added, no residual
        self.self_attn = self.attention(config)
        self.layer_norm1 = nn.LayerNorm(c, eps=eps)
        self.cross_attn_token_to_image = self.attention(config, rate)
        self.layer_norm2 = nn.LayerNorm(c, eps=eps)
        self.mlp = self.feed_forward(c, config.mlp_dim, config.hidden_act)
        self.layer_norm3 = nn.LayerNorm(c, eps=eps)
        self.cross_attn_image_to_token = self.attention(config, rate)
        self.layer_norm4 = nn.LayerNorm(c, eps=eps)

    def forward(
        self,
        tokens: Tensor,
        image: Tensor,
        token_pe: Tensor,
        image_pe: Tensor,
        token_mask: Tensor | None,
        similarity: Tensor | None,
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """tokens: (B, N, T, C); image: (B, N or 1, h * w, C); token_mask: (B * N, 1, 1, T), True = a real token"""
        tokens = self.layer_norm1(self.attend_to_self(tokens, token_pe, token_mask))

        keys = image + image_pe
        attended, weights = self.cross_attn_token_to_image(tokens + token_pe, keys, image, similarity)
        tokens = self.layer_norm2(tokens + attended)
        tokens = self.layer_norm3(tokens + self.mlp(tokens))

        image = image + self.cross_attn_image_to_token(keys, tokens + token_pe, tokens, token_mask)[0]
        return tokens, self.layer_norm4(image), weights

    def attend_to_self(self, tokens: Tensor, token_pe: Tensor, token_mask: Tensor | None) -> Tensor:
        if self.first:
            return self.self_attn(tokens, tokens, tokens, token_mask)[0]
        q = tokens + token_pe
        return tokens + self.self_attn(q, q, tokens, token_mask)[0]


class TwoWayTransformer(nn.Module):
    def __init__(self, config: SamMaskDecoderConfig, block: type[TwoWayBlock] = TwoWayBlock) -> None:
        super().__init__()
        self.layers = nn.ModuleList([block(config, first=i == 0) for i in range(config.num_hidden_layers)])
        self.final_attn_token_to_image = block.attention(config, config.attention_downsample_rate)
        self.layer_norm_final_attn = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(
        self,
        tokens: Tensor,
        image: Tensor,
        image_pe: Tensor,
        token_mask: Tensor | None = None,
        similarity: Tensor | None = None,
        target: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, list[Tensor | None]]:
        if target is not None:
            tokens = tokens + target
        # PerSAM adds the target in place, so the first addition also changes the positions; later ones do not.
        token_pe, attentions = tokens, []
        for i, layer in enumerate(self.layers):
            if target is not None and i > 0:
                tokens = tokens + target
            tokens, image, weights = layer(tokens, image, token_pe, image_pe, token_mask, similarity)
            attentions.append(weights)
        attended, _ = self.final_attn_token_to_image(tokens + token_pe, image + image_pe, image)
        return self.layer_norm_final_attn(tokens + attended), image, attentions


def stability_score(logits: Tensor, threshold: float = 0.0, offset: float = 1.0) -> Tensor:
    """IoU between the masks at ``threshold + offset`` and ``threshold - offset``: (..., h, w) -> (...) float32.

    As `sam_hub.ops.masks.stability_score`: 0 where both masks are empty.
    """
    inner = (logits > threshold + offset).sum(dim=(-2, -1))
    outer = (logits > threshold - offset).sum(dim=(-2, -1))
    return inner / outer.clamp(min=1)


class Decoded(NamedTuple):
    """Decoder outputs for N prompts on each of B images.

    masks: (B, N, 1 + M, 4h, 4w) low-res logits
    iou: (B, N, 1 + M) predicted IoU
    attentions: for each layer the token-to-image attention weights, or None if the implementation returns none
    object_scores: (B, N, 1) logits of an object being present, or None if the decoder does not predict it
    """

    masks: Tensor
    iou: Tensor
    attentions: list[Tensor | None]
    object_scores: Tensor | None = None


class MaskDecoder(OriginalDecoderCalls):
    """SAM's decoder: one output token for the IoU, one for the single mask, three for the ambiguous case.

    Other families differ in the class attributes or extend the methods. A class that changes nothing but finer
    features, `predict_iou`, `score_objects` and `select_masks` sets ``as_known`` in its own body, and so do its layers:
    everything mode and the predictor then compute it faster.
    """

    block: type[TwoWayBlock] = TwoWayBlock
    upscale_norm: Callable[[int], nn.Module] = LayerNorm2d
    head_act = "relu"
    feature_maps: tuple[str, ...] = ()  # the `EncoderOutput.features` that it reads, by name
    image_layers: tuple[str, ...] = ()  # names of the layers that `encode_features` uses

    _no_split_modules = ["TwoWayBlock"]  # read by transformers

    def __init__(self, config: SamMaskDecoderConfig) -> None:
        super().__init__()
        c = config.hidden_size
        self.config = config
        self.num_mask_tokens = config.num_multimask_outputs + 1
        self.iou_token = nn.Embedding(1, c)
        self.mask_tokens = nn.Embedding(self.num_mask_tokens, c)
        self.transformer = TwoWayTransformer(config, self.block)
        self.upscale_conv1 = nn.ConvTranspose2d(c, c // 4, kernel_size=2, stride=2)
        self.upscale_layer_norm = self.upscale_norm(c // 4)
        self.upscale_conv2 = nn.ConvTranspose2d(c // 4, c // 8, kernel_size=2, stride=2)
        self.output_hypernetworks_mlps = nn.ModuleList(
            [FeedForward(c, c, c // 8, 3, self.head_act) for _ in range(self.num_mask_tokens)]
        )
        self.iou_prediction_head = FeedForward(
            c, config.iou_head_hidden_dim, self.num_mask_tokens, config.iou_head_depth, self.head_act
        )

    def forward(
        self,
        image_embeddings: Tensor,
        image_pe: Tensor,
        sparse: Tensor | None,
        dense: Tensor,
        valid: Tensor | None = None,
        attention_similarity: Tensor | None = None,
        target_embedding: Tensor | None = None,
        features: Mapping[str, Tensor] | None = None,
    ) -> tuple:
        """Predict every mask; `select_masks` then picks the requested ones.

        image_embeddings: (B, C, h, w); image_pe: (1, C, h, w)
        sparse, dense, valid: see `PromptEncoder.forward`
        attention_similarity, target_embedding: PerSAM's guidance, as in ``transformers``
        features: `EncoderOutput.features`, those of ``feature_maps``
        returns: the fields of `Decoded`, without object scores if the decoder has none
        """
        b, c, h, w = image_embeddings.shape
        n = dense.shape[1] if sparse is None else sparse.shape[1]
        own = self.output_tokens().expand(b, n, -1, -1)
        tokens = own if sparse is None else torch.cat([own, sparse.to(own.dtype)], dim=2)
        mask = None
        if valid is not None:
            mask = F.pad(valid, (own.shape[2], 0), value=True).flatten(0, 1)[:, None, None, :]

        dtype = image_embeddings.dtype  # under autocast it may be narrower than the weights
        image = (image_embeddings[:, None] + dense.to(dtype)).flatten(3).transpose(2, 3)  # (B, N or 1, h * w, C)
        pe = image_pe.to(dtype).flatten(2).transpose(1, 2)[:, None]
        tokens, image, attentions = self.transformer(tokens, image, pe, mask, attention_similarity, target_embedding)

        tokens = tokens[:, :, : own.shape[2]]  # without the prompts'
        upscaled = self.upscale(image.transpose(2, 3).reshape(b * n, c, h, w), features or {}).unflatten(0, (b, n))
        masks = self.draw_masks(tokens[:, :, 1:], upscaled, image_embeddings, features or {})
        found = masks, self.predict_iou(tokens), attentions
        scores = self.score_objects(tokens)
        return found if scores is None else (*found, scores)

    def predict_iou(self, tokens: Tensor) -> Tensor:
        """Predicted IoU of each mask: the decoder's own tokens (B, N, T, C), as `output_tokens` -> (B, N, 1 + M)"""
        return self.iou_prediction_head(tokens[:, :, 0])

    def score_objects(self, tokens: Tensor) -> Tensor | None:
        """Logits of an object being present: tokens as in `predict_iou` -> (B, N, 1); None if not predicted."""
        return None

    def encode_features(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        """Process the encoder's maps once for an image, before any prompt; see `SamModel.encode`."""
        return features

    def named_features(self, given: Mapping[str, Tensor] | Sequence[Tensor]) -> dict[str, Tensor]:
        """The maps of ``feature_maps``, from a mapping or from a sequence in that order.

        raises: ValueError if one is missing
        """
        if not isinstance(given, Mapping):
            given = dict(zip(self.feature_maps, given, strict=False))
        if missing := [name for name in self.feature_maps if name not in given]:
            raise ValueError(
                f"this model's decoder needs intermediate_embeddings ({', '.join(missing)}) beside image_embeddings: "
                "see `encode`"
            )
        return {name: given[name] for name in self.feature_maps}

    def feature_shapes(self, grid: tuple[int, int]) -> dict[str, tuple[int, ...]]:
        """Shapes of the maps of ``feature_maps`` for one image, whose embedding is (C, h, w) with ``grid`` (h, w)."""
        return {}

    def output_tokens(self) -> Tensor:
        """The decoder's own tokens, (T, C): IoU first, then one for each mask."""
        return torch.cat([self.iou_token.weight, self.mask_tokens.weight])

    def draw_masks(
        self, tokens: Tensor, upscaled: Tensor, image_embeddings: Tensor, features: Mapping[str, Tensor]
    ) -> Tensor:
        """A hypernetwork turns each mask token into a linear classifier of the upscaled pixels.

        tokens: (B, N, 1 + M, C), as `output_tokens` without the IoU's; upscaled: (B, N, C / 8, 4h, 4w)
        returns: (B, N, 1 + M, 4h, 4w)
        """
        hyper = torch.stack(
            [mlp(tokens[:, :, i]) for i, mlp in enumerate(self.output_hypernetworks_mlps)], dim=2
        )  # (B, N, 1 + M, C / 8)
        return (hyper @ upscaled.flatten(3)).unflatten(-1, upscaled.shape[-2:])

    def upscale(self, x: Tensor, features: Mapping[str, Tensor]) -> Tensor:
        """(B * N, C, h, w) -> (B * N, C / 8, 4h, 4w)"""
        x = F.gelu(self.upscale_layer_norm(self.upscale_conv1(x)))
        return F.gelu(self.upscale_conv2(x))

    def select_masks(
        self, masks: Tensor, iou: Tensor, multimask_output: bool, count: int | None = None
    ) -> tuple[Tensor, Tensor]:
        """Three masks for an ambiguous prompt, or the first token's mask; with their predicted IoU.

        count: 1, 3 or 4 masks, overrides ``multimask_output``; 4 means the single mask, then the three (EdgeSAM). For
            1, a decoder whose first token was not trained (TinySAM) returns the best of the three.
        """
        many = self.config.num_multimask_outputs
        if count is None:
            count = many if multimask_output else 1
        if count not in (1, many, many + 1):
            raise ValueError(f"num_multimask_outputs must be 1, {many} or {many + 1}; got {count}")
        if count == 1 and self.config.always_multimask:
            masks, iou = masks[:, :, 1:], iou[:, :, 1:]
            return best_mask(masks, iou, self.ranking(masks, iou))
        keep = {1: slice(0, 1), many: slice(1, None), many + 1: slice(None)}[count]
        return masks[:, :, keep], iou[:, :, keep]

    def ranking(self, masks: Tensor, iou: Tensor) -> Tensor:
        """The scores that rank masks: the predicted IoU, or the stability score if the IoU head was not trained.

        masks: (..., M, 4h, 4w) logits; iou, returns: (..., M)
        """
        return stability_score(masks).to(iou.dtype) if self.config.rank_by == "stability" else iou


def best_mask(masks: Tensor, iou: Tensor, scores: Tensor) -> tuple[Tensor, Tensor]:
    """The best-scored mask and its predicted IoU: (B, N, M, h, w), (B, N, M) twice -> the same with M = 1."""
    best = scores.argmax(dim=2, keepdim=True)  # (B, N, 1)
    at = best[..., None, None].expand(-1, -1, -1, *masks.shape[-2:])
    return masks.gather(2, at), iou.gather(2, best)
