"""SAM's mask decoder at a fraction of its arithmetic, for many prompts on one image.

`MaskDecoder` gives each prompt a copy of the image, changes it in every layer, and projects all of its P pixels
again and again. But all that a prompt adds to a pixel is a mixture of its own few tokens: attention over T tokens
in H heads adds ``weights^T rows``, with ``weights`` (H * T, P) and ``rows`` (H * T, C), and the layer norm then scales
the pixel and each channel. So the image of a prompt is kept as

    image = scale * base + weights^T rows + offset

where ``base`` (C, P) and ``offset`` (C) are the same for every prompt. What ``base`` gives in each projection is
computed once for the image; a prompt pays for products with its rows, 113 at the end, which are themselves projected
instead of the pixels. Multiply-adds for a click on a 64 x 64 embedding: 1.79 G -> 0.2 G for the tokens and the IoU,
and 0.26 G to draw the masks, which is left away where no mask is wanted. The results are those of `MaskDecoder`
but for rounding.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..models.layers import Attention
from ..models.mask_decoder import MaskDecoder, TwoWayBlock

PIXELS_TOGETHER = {"cpu": 8192}
"""As many prompts are decoded together as have this many P between them: on a CPU their maps stay in the cache."""
PIXELS_ELSEWHERE = 65536

Select = Callable[[Tensor], Tensor]
"""Predicted IoU (N, 1 + M) -> bool (N, 1 + M), the masks to draw."""


def supports(decoder: nn.Module) -> bool:
    """Whether `FastDecoder` computes what this decoder does: SAM's own, in float32 or better."""
    return type(decoder) is MaskDecoder and decoder.iou_token.weight.dtype in (torch.float32, torch.float64)


@dataclass
class PromptImage:
    """What N prompts made of the image.

    scale: (N, 1, P); weights: (N, R, P); rows: (N, R, C)
    factors: for each group of rows the (N, H, T, d) that a matrix, shared by all prompts, turns into them
    """

    scale: Tensor
    weights: Tensor
    rows: Tensor
    factors: list[Tensor]


def split_heads(x: Tensor, heads: int) -> Tensor:
    """(1, N, T, H * d) -> (N, H, T, d)"""
    return x[0].unflatten(-1, (heads, -1)).transpose(1, 2)


def merge_heads(x: Tensor) -> Tensor:
    """(N, H, T, d) -> (1, N, T, H * d)"""
    return x.transpose(1, 2).flatten(2)[None]


def against(x: Tensor, shared: Tensor) -> Tensor:
    """Vectors of each prompt with a map that all share, per head: (N, H, T, d) and (H, d, P) -> (N, H * T, P)"""
    n, h, t, d = x.shape
    if n == 1:
        return (x[0] @ shared).flatten(0, 1)[None]
    return (x.transpose(0, 1).reshape(h, n * t, d) @ shared).unflatten(1, (n, t)).transpose(0, 1).flatten(1, 2)


class Reader:
    """Attention logits between tokens and pixels, whichever of them asks."""

    def __init__(self, projection: nn.Linear, heads: int, base: Tensor, offset: Tensor, untouched: bool) -> None:
        """base: (C, P); offset: (C, P), positions included; untouched: no prompt has changed the image yet"""
        weight, bias = projection.weight, projection.bias[:, None]
        self.weight = weight.unflatten(0, (heads, -1))  # (H, d, C)
        if untouched:
            self.base = (weight @ (base + offset) + bias).unflatten(0, (heads, -1))  # (H, d, P)
        else:
            self.base = (weight @ base).unflatten(0, (heads, -1))
            self.offset = (weight @ offset + bias).unflatten(0, (heads, -1))

    def __call__(self, x: Tensor, image: PromptImage | None) -> Tensor:
        """(N, H, T, d) -> (N, H * T, P)"""
        logits = against(x, self.base)
        if image is None:
            return logits
        logits = torch.addcmul(against(x, self.offset), logits, image.scale)
        x = (x @ self.weight).flatten(1, 2)  # (N, H * T, C): the tokens in the pixels' channels
        return torch.baddbmm(logits, x @ image.rows.transpose(1, 2), image.weights)


class Summer:
    """Values of the pixels, summed with the weights of an attention."""

    def __init__(self, projection: nn.Linear, heads: int, base: Tensor, offset: Tensor) -> None:
        """base: (C, P); offset: (C)"""
        self.weight = projection.weight.unflatten(0, (heads, -1)).transpose(1, 2)  # (H, C, d)
        self.base = (projection.weight @ base).unflatten(0, (heads, -1)).transpose(1, 2)  # (H, P, d)
        self.offset = projection(offset).reshape(heads, 1, -1)  # the weights of a token sum to 1

    def __call__(self, attention: Tensor, image: PromptImage | None) -> Tensor:
        """(N, H * T, P) -> (N, H, T, d)"""
        heads = self.base.shape[0]
        if image is None:
            return attention.unflatten(1, (heads, -1)) @ self.base + self.offset
        scaled = (attention * image.scale).unflatten(1, (heads, -1))
        added = (attention @ image.weights.transpose(1, 2)) @ image.rows  # (N, H * T, C)
        return scaled @ self.base + added.unflatten(1, (heads, -1)) @ self.weight + self.offset


class Changer:
    """The end of a layer: what the pixels gather from the tokens is added, and the sum normed.

    The variance of a pixel comes from products of the rows with each other and with the base.
    """

    def __init__(
        self, block: TwoWayBlock, base: Tensor, offset: Tensor, matrices: list[Tensor], untouched: bool
    ) -> None:
        """base: (C, P); offset: (C); matrices: what turns each group of factors into rows, (H, d, C)

        Leaves the base, offset and matrices of the image after the layer as attributes.
        """
        attention, norm = block.cross_attn_image_to_token, block.layer_norm4
        self.gain, self.eps = norm.weight, norm.eps
        self.out = attention.out_proj.weight.T.unflatten(0, (attention.num_heads, -1))  # (H, d, C)
        constant = offset + attention.out_proj.bias
        base = base - base.mean(0)
        matrices = [*matrices, self.out]
        if untouched:
            base = base + (constant - constant.mean())[:, None]
            self.constant = None
        else:  # the base has a scale, and the constant has none: it becomes a row
            self.constant = constant
            matrices.append(constant[None, None])
        self.energy = base.square().sum(0)  # (P)
        self.crosses = [m @ base for m in matrices]  # (H, d, P)
        self.base = self.gain[:, None] * base
        self.offset = norm.bias
        self.matrices = [self.gain * (m - m.mean(-1, keepdim=True)) for m in matrices]

    def __call__(self, attention: Tensor, values: Tensor, image: PromptImage | None) -> PromptImage:
        """attention: (N, H * T, P), of each pixel over the tokens; values: (N, H, T, d)"""
        n, _, p = attention.shape
        rows, weights, factors = [(values @ self.out).flatten(1, 2)], [attention], [values]
        if image is not None:
            one = attention.new_ones(1)
            rows = [image.rows, *rows, self.constant.expand(n, 1, -1)]
            weights = [image.weights, *weights, one.expand(n, 1, p)]
            factors = [*image.factors, *factors, one.expand(n, 1, 1, 1)]
        rows, weights = torch.cat(rows, dim=1), torch.cat(weights, dim=1)
        rows = rows - rows.mean(-1, keepdim=True)

        cross = torch.cat([against(x, shared) for x, shared in zip(factors, self.crosses, strict=True)], dim=1)
        energy = self.energy
        if image is not None:
            cross *= image.scale
            energy = energy * image.scale.square()
        gram = torch.baddbmm(cross, rows @ rows.transpose(1, 2), weights, beta=2)  # (N, R, P)
        variance = (energy + gram.mul_(weights).sum(1, keepdim=True)) / len(self.gain)
        scale = torch.rsqrt(variance + self.eps)
        weights *= scale
        if image is not None:
            scale = scale * image.scale
        return PromptImage(scale, weights, rows * self.gain, factors)


class ReadyImage:
    """An image as the decoder sees it before any prompt: every projection of its base."""

    def __init__(self, decoder: MaskDecoder, embedding: Tensor, image_pe: Tensor) -> None:
        """embedding: (1, C, h, w), with the "no mask" vector added; image_pe: (1, C, h, w)"""
        self.size = tuple(embedding.shape[-2:])
        base = embedding.flatten(2)[0]  # (C, P)
        positions = image_pe.flatten(2)[0]
        offset, matrices = torch.zeros_like(base[:, 0]), []
        self.layers: list[tuple[Reader, Summer, Reader, Changer]] = []
        untouched = True
        for block in decoder.transformer.layers:
            ask, answer = block.cross_attn_token_to_image, block.cross_attn_image_to_token
            heads = ask.num_heads
            place = offset[:, None] + positions
            keys = Reader(ask.k_proj, heads, base, place, untouched)
            values = Summer(ask.v_proj, heads, base, offset)
            queries = Reader(answer.q_proj, heads, base, place, untouched)
            change = Changer(block, base, offset, matrices, untouched)
            self.layers.append((keys, values, queries, change))
            base, offset, matrices, untouched = change.base, change.offset, change.matrices, False
        final = decoder.transformer.final_attn_token_to_image
        self.keys = Reader(final.k_proj, final.num_heads, base, offset[:, None] + positions, untouched)
        self.values = Summer(final.v_proj, final.num_heads, base, offset)
        conv = decoder.upscale_conv1
        weight = conv.weight - conv.weight.mean(1, keepdim=True)  # the norm that follows takes the mean away
        bias = conv.bias - conv.bias.mean()
        self.upscale = weight.permute(2, 3, 1, 0).flatten(0, 2)  # (4 * C / 4, C), quarter pixels first
        self.upscale_base = self.upscale @ base
        self.upscale_offset = (self.upscale @ offset + bias.repeat(4))[:, None]


class FastDecoder:
    """`MaskDecoder` for prompts without padding and masks on one image, with the weights it has now."""

    def __init__(self, decoder: MaskDecoder, embedding: Tensor, image_pe: Tensor) -> None:
        """Arguments as of `ReadyImage`. raises: ValueError for a decoder of another kind (see `supports`)"""
        if not supports(decoder):
            raise ValueError(f"the fast decoder cannot stand in for {type(decoder).__name__} in this precision")
        self.decoder = decoder
        with torch.no_grad():
            self.image = ReadyImage(decoder, embedding, image_pe)

    @torch.no_grad()
    def __call__(self, sparse: Tensor, select: Select) -> tuple[Tensor, Tensor, Tensor]:
        """Decode N prompts.

        sparse: (1, N, T, C), without padding
        select: chooses the masks to draw by their predicted IoU
        returns: predicted IoU (N, 1 + M); which masks were drawn, (K, 2) prompt and mask, in that order; their
            low-res logits (K, 4h, 4w)
        """
        h, w = self.image.size
        together = max(1, PIXELS_TOGETHER.get(sparse.device.type, PIXELS_ELSEWHERE) // (h * w))
        scores, chosen, masks = [], [], []
        for start in range(0, sparse.shape[1], together):
            tokens, image = self.attend(sparse[:, start : start + together])
            iou = self.decoder.iou_prediction_head(tokens[0, :, 0])
            which = select(iou).nonzero()  # (K, 2)
            scores.append(iou)
            if len(which):
                masks.append(self.draw(tokens[0, :, 1:], image, which))
                which[:, 0] += start
                chosen.append(which)
        if not chosen:
            nothing = sparse.new_zeros((0, 4 * h, 4 * w))
            return torch.cat(scores), torch.zeros((0, 2), dtype=torch.long, device=sparse.device), nothing
        return torch.cat(scores), torch.cat(chosen), torch.cat(masks)

    def attend(self, sparse: Tensor) -> tuple[Tensor, PromptImage]:
        """The two-way transformer: (1, n, T, C) -> all tokens (1, n, 1 + 1 + M + T, C) and the image"""
        transformer = self.decoder.transformer
        own = self.decoder.output_tokens().expand(1, sparse.shape[1], -1, -1)
        tokens = token_pe = torch.cat([own, sparse.to(own.dtype)], dim=2)
        image = None
        for block, (keys, values, queries, change) in zip(transformer.layers, self.image.layers, strict=True):
            tokens = block.layer_norm1(block.attend_to_self(tokens, token_pe, None))
            attended = self.ask(block.cross_attn_token_to_image, tokens + token_pe, keys, values, image)
            tokens = block.layer_norm2(tokens + attended)
            tokens = block.layer_norm3(tokens + block.mlp(tokens))

            answer = block.cross_attn_image_to_token
            k = split_heads(answer.k_proj(tokens + token_pe) * answer.scaling, answer.num_heads)
            v = split_heads(answer.v_proj(tokens), answer.num_heads)
            weights = queries(k, image).unflatten(1, (answer.num_heads, -1)).softmax(dim=2)  # over the tokens
            image = change(weights.flatten(1, 2), v, image)
        final = transformer.final_attn_token_to_image
        attended = self.ask(final, tokens + token_pe, self.image.keys, self.image.values, image)
        return transformer.layer_norm_final_attn(tokens + attended), image

    @staticmethod
    def ask(attention: Attention, tokens: Tensor, keys: Reader, values: Summer, image: PromptImage | None) -> Tensor:
        """Tokens attend to the image: (1, n, T, C) -> (1, n, T, C)"""
        q = split_heads(attention.q_proj(tokens) * attention.scaling, attention.num_heads)
        weights = keys(q, image).softmax(dim=-1)  # over the pixels
        return attention.out_proj(merge_heads(values(weights, image)))

    def draw(self, tokens: Tensor, image: PromptImage, which: Tensor) -> Tensor:
        """The chosen masks: tokens (n, 1 + M + T, C), which (K, 2) -> (K, 4h, 4w)"""
        decoder, (h, w) = self.decoder, self.image.size
        prompts, place = which[:, 0].unique(return_inverse=True)  # those with a mask to draw
        scale, weights, rows = image.scale, image.weights, image.rows
        if len(prompts) < len(tokens):
            tokens, scale, weights, rows = tokens[prompts], scale[prompts], weights[prompts], rows[prompts]
        x = torch.addcmul(self.image.upscale_offset, self.image.upscale_base, scale)
        x = torch.baddbmm(x, self.image.upscale @ rows.transpose(1, 2), weights).unflatten(1, (4, -1))
        norm = decoder.upscale_layer_norm  # of what is centred already: x is (n, 4, C / 4, P)
        x *= torch.rsqrt(x.square().mean(dim=2, keepdim=True) + norm.eps)
        x = F.gelu(torch.addcmul(norm.bias[:, None], x, norm.weight[:, None]))
        conv = decoder.upscale_conv2
        x = F.gelu(conv.weight.permute(2, 3, 1, 0).flatten(0, 2) @ x + conv.bias.repeat(4)[:, None])
        x = x.unflatten(2, (4, -1)).flatten(1, 2)  # (n, 16, C / 8, P): quarters of quarter pixels

        hyper = torch.stack([mlp(tokens[:, i]) for i, mlp in enumerate(decoder.output_hypernetworks_mlps)], dim=1)
        masks = (hyper[:, None] @ x)[place, :, which[:, 1]]  # (K, 16, P)
        return masks.view(-1, 2, 2, 2, 2, h, w).permute(0, 5, 1, 3, 6, 2, 4).reshape(-1, 4 * h, 4 * w)
