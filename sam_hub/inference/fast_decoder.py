"""SAM's mask decoder at a fraction of its arithmetic, for many prompts on one image.

`MaskDecoder` gives each prompt a copy of the image, changes it in every layer, and projects all of its P pixels each
time. But a prompt only adds a mixture of its own few tokens to a pixel: attention over T tokens in H heads adds
``weights^T rows``, with ``weights`` (H * T, P) and ``rows`` (H * T, C), and the layer norm then scales the pixel and
each channel. So the image of a prompt is kept as

    image = scale * base + weights^T rows + offset

where ``base`` (C, P) and ``offset`` (C) are the same for every prompt. The projections of ``base`` are computed once
for the image; each prompt then only projects its rows (113 at the end) instead of the pixels. Multiply-adds for
a click on a 64 x 64 embedding: 1.79 G -> 0.2 G for the tokens and the IoU, plus 0.26 G to draw the masks, if any is
wanted. The results equal those of `MaskDecoder` except for rounding.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..models.layers import Attention
from ..models.mask_decoder import MaskDecoder, TwoWayBlock
from .plain_modules import attends_as_usual, is_plain, known_kind
from .spreading import spread

PIXELS_TOGETHER = {"cpu": 16384}
"""Pixels P, summed over the prompts that are decoded together: on a CPU their maps then fit in the cache."""
PIXELS_ELSEWHERE = 65536

DRAWN_TOGETHER = {"cpu": 1024}
"""The same for prompts whose masks are drawn, whose maps are larger."""
DRAWN_ELSEWHERE = 32768

Select = Callable[[Tensor], Tensor]
"""Predicted IoU (N, 1 + M) -> bool (N, 1 + M), the masks to draw."""


def supports(decoder: nn.Module, device: torch.device | None = None) -> bool:
    """Whether `FastDecoder` gives the results of calling this decoder: SAM's own or one with finer features (see
    `MaskDecoder`), unmodified, in float32 or better.

    device: where the image is; default: the decoder's
    """
    if known_kind(type(decoder)) is not MaskDecoder:
        return False
    token = decoder.iou_token.weight if type(decoder.iou_token) is nn.Embedding else None
    return (
        type(token) is nn.Parameter
        and token.dtype in (torch.float32, torch.float64)
        and not torch.is_autocast_enabled(token.device.type)
        and is_plain(decoder, token.dtype, device or token.device)
        and attends_as_usual(decoder)
    )


def weights_read(decoder: MaskDecoder) -> Iterator[Tensor]:
    """The weights that `ReadyImage` multiplies in advance; all others are read for every prompt."""
    read: list[nn.Module] = []
    for block in decoder.transformer.layers:
        ask, answer = block.cross_attn_token_to_image, block.cross_attn_image_to_token
        read += [ask.k_proj, ask.v_proj, answer.q_proj, answer.out_proj, block.layer_norm4]
    final = decoder.transformer.final_attn_token_to_image
    read += [final.k_proj, final.v_proj, decoder.upscale_conv1, decoder.upscale_conv2]
    if decoder.feature_maps and not decoder.projects_once:
        read += [decoder.conv_s1, decoder.conv_s0]
    for module in read:
        yield module.weight
        yield module.bias


class Products:
    """Products of weights and positions, shared by all images of one size, and a copy of these weights.

    image_pe: (1, C, h, w)
    fourier: (2, C / 2), the matrix that made the positions, to check it for changes too
    """

    def __init__(self, decoder: MaskDecoder, image_pe: Tensor, fourier: Tensor | None = None) -> None:
        self.image_pe = image_pe
        self._read = [t.detach().clone() for t in self._watched(decoder, fourier)]
        self._made: dict[nn.Module, Tensor] = {}

    @staticmethod
    def _watched(decoder: MaskDecoder, fourier: Tensor | None) -> list[Tensor]:
        return [*weights_read(decoder)] if fourier is None else [*weights_read(decoder), fourier]

    def fit(self, decoder: MaskDecoder, size: tuple[int, int], fourier: Tensor) -> bool:
        """Whether the products are still valid: every weight has its old value, however it may have been written to.

        size: (h, w) of the embedding
        """
        now, before = self._watched(decoder, fourier), self._read
        if self.image_pe.shape[-2:] != size or len(now) != len(before):
            return False
        if (now[0].device, now[0].dtype) != (before[0].device, before[0].dtype):  # 0.5 is 0.5 in any
            return False
        if fourier.device.type == "cpu":
            return all(np.array_equal(old.numpy(), t.detach().numpy()) for old, t in zip(before, now, strict=True))
        flat = [torch.cat([t.flatten() for t in tensors]) for tensors in (self._read, now)]
        return torch.equal(*flat)  # a single comparison, which synchronises with the device once

    def of(self, projection: nn.Linear, places: Tensor) -> Tensor:
        """The projection of the positions (C, P), the same for every image: (heads * d, P)."""
        if projection not in self._made:
            self._made[projection] = projection.weight @ places + projection.bias[:, None]
        return self._made[projection]


@dataclass
class PromptImage:
    """The image as changed by N prompts.

    scale: (N, 1, P); weights: (N, R, P); rows: (N, R, C)
    factors: for each group of rows, the (N, H, T, d) that become the rows when multiplied by a matrix that all prompts
        share
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
    """Multiply vectors of each prompt by a shared matrix, per head: (N, H, T, d) and (H, d, P) -> (N, H, T, P)

    One product for each head; heads come first in memory.
    """
    n, h, t, d = x.shape
    return (x.transpose(0, 1).reshape(h, n * t, d) @ shared).unflatten(1, (n, t)).transpose(0, 1)


def mixed(weights: Tensor, shared: Tensor) -> Tensor:
    """Weighted sums over a shared map, per head: (N, H, T, P) and (H, P, d) -> (N, H, T, d)"""
    n, h, t, p = weights.shape
    return (weights.transpose(0, 1).reshape(h, n * t, p) @ shared).unflatten(1, (n, t)).transpose(0, 1)


def by_factor(rows: Tensor, attention: Attention) -> tuple[Tensor, Tensor]:
    """Split the rows of a layer's ``common`` by its two groups of factors: (R, n) -> (H, d, n), (1, R, n)

    The first group has the rows of each head; the second has all rows.
    """
    width = attention.v_proj.out_features
    return rows[:width].unflatten(0, (attention.num_heads, -1)), rows[None]


class Reader:
    """Attention logits between tokens and pixels, in either direction."""

    def __init__(
        self, projection: nn.Linear, heads: int, base: Tensor, offset: Tensor, untouched: bool, products: Products
    ) -> None:
        """base: (C, P); offset: (C, P), positions included; untouched: no prompt has changed the image yet"""
        weight = projection.weight
        self.weight = weight.unflatten(0, (heads, -1))  # (H, d, C)
        self.offset = products.of(projection, offset).unflatten(0, (heads, -1))  # (H, d, P)
        self.base = (weight @ base).unflatten(0, (heads, -1))
        if untouched:
            self.base = self.base + self.offset

    def __call__(self, x: Tensor, image: PromptImage | None) -> Tensor:
        """(N, H, T, d) -> (N, H, T, P)"""
        if image is None:
            return against(x, self.base)
        n, h, t, _ = x.shape
        logits = x.new_empty(n, h, t, self.base.shape[-1])
        torch.addcmul(against(x, self.offset), against(x, self.base), image.scale[:, None], out=logits)
        rows = against(x, self.weight).flatten(1, 2) @ image.rows.transpose(1, 2)  # (N, H * T, R)
        logits.flatten(1, 2).baddbmm_(rows, image.weights)
        return logits


class Summer:
    """Sums of the pixels' values, weighted by an attention."""

    def __init__(self, projection: nn.Linear, heads: int, base: Tensor, offset: Tensor) -> None:
        """base: (C, P); offset: (C)"""
        self.weight = projection.weight.unflatten(0, (heads, -1)).transpose(1, 2)  # (H, C, d)
        self.base = (projection.weight @ base).unflatten(0, (heads, -1)).transpose(1, 2).contiguous()  # (H, P, d)
        self.offset = projection(offset).reshape(heads, 1, -1)  # the weights of a token sum to 1

    def __call__(self, attention: Tensor, image: PromptImage | None) -> Tensor:
        """(N, H, T, P) -> (N, H, T, d)"""
        if image is None:
            return mixed(attention, self.base) + self.offset
        n, h, t, p = attention.shape
        scaled = attention.new_empty(h, n, t, p).transpose(0, 1)
        torch.mul(attention, image.scale[:, None], out=scaled)
        added = (attention.flatten(1, 2) @ image.weights.transpose(1, 2)) @ image.rows  # (N, H * T, C)
        return mixed(scaled, self.base) + against(added.unflatten(1, (h, t)), self.weight) + self.offset


class Changer:
    """The end of a layer: adds the pixels' attention over the tokens, and normalises the sum.

    A pixel's weights sum to 1 in each head, so the last token can be subtracted from the others and added once: it is
    one row for all heads, and the other tokens' rows are the differences from it. The variance of a pixel follows from
    products of the rows with each other and with the base.
    """

    def __init__(
        self, block: TwoWayBlock, base: Tensor, offset: Tensor, matrices: list[Tensor], untouched: bool
    ) -> None:
        """base: (C, P); offset: (C); matrices: (R, C) of each earlier layer, which turn its factors into rows

        Sets the base, offset and matrices after the layer as attributes.
        """
        attention, norm = block.cross_attn_image_to_token, block.layer_norm4
        self.gain, self.eps = norm.weight, norm.eps
        self.out = attention.out_proj.weight.T.unflatten(0, (attention.num_heads, -1))  # (H, d, C)
        self.common = attention.out_proj.weight.T  # (H * d, C)
        constant = offset + attention.out_proj.bias
        base = base - base.mean(0)
        self.untouched = untouched
        if untouched:
            base = base + (constant - constant.mean())[:, None]
        else:  # the base is scaled, the constant is not
            self.common = torch.cat([self.common, constant[None]])
        matrices = [*matrices, self.common]
        self.energy = base.square().sum(0)  # (P)
        self.crosses = [part for m in matrices for part in by_factor(m @ base, attention)]
        self.base = self.gain[:, None] * base
        self.offset = norm.bias
        self.matrices = [self.gain * (m - m.mean(-1, keepdim=True)) for m in matrices]

    def __call__(self, attention: Tensor, values: Tensor, image: PromptImage | None) -> PromptImage:
        """attention: (N, H, T, P), of each pixel over the tokens; values: (N, H, T, d)"""
        n, h, t, p = attention.shape
        last = values[:, :, -1:]  # (N, H, 1, d)
        common = last.reshape(n, 1, 1, -1)
        if not self.untouched:
            common = F.pad(common, (0, 1), value=1.0)
        factors = [values[:, :, :-1] - last, common]
        rows = [against(factors[0], self.out).flatten(1, 2), common[:, 0] @ self.common]
        if image is not None:
            factors, rows = [*image.factors, *factors], [image.rows, *rows]
        rows = torch.cat(rows, dim=1)
        rows = rows - rows.mean(-1, keepdim=True)

        old, new = rows.shape[1] - h * (t - 1) - 1, h * (t - 1)
        weights = attention.new_empty(n, old + new + 1, p)
        if image is not None:
            weights[:, :old] = image.weights
        weights[:, old:-1].unflatten(1, (h, t - 1)).copy_(attention[:, :, :-1])
        weights[:, -1] = 1

        gram = attention.new_empty(weights.shape)
        start = 0
        for factor, shared in zip(factors, self.crosses, strict=True):
            stop = start + factor.shape[1] * factor.shape[2]
            gram[:, start:stop].unflatten(1, factor.shape[1:3]).copy_(against(factor, shared))
            start = stop
        energy = self.energy
        if image is not None:
            gram *= image.scale
            energy = energy * image.scale.square()
        products = rows @ rows.transpose(1, 2)  # (N, R, R), symmetric: of old with new rows, half is enough
        if old:
            products[:, :old, old:] *= 2
            gram[:, :old].baddbmm_(products[:, :old], weights, beta=2)
        gram[:, old:].baddbmm_(products[:, old:, old:], weights[:, old:], beta=2)
        variance = (energy + gram.mul_(weights).sum(1, keepdim=True)) / len(self.gain)
        scale = torch.rsqrt(variance + self.eps)
        weights *= scale
        if image is not None:
            scale = scale * image.scale
        return PromptImage(scale, weights, rows * self.gain, factors)


class ReadyImage:
    """An image prepared for prompts: all projections of its base."""

    def __init__(
        self, decoder: MaskDecoder, embedding: Tensor, products: Products, features: Mapping[str, Tensor] | None = None
    ) -> None:
        """embedding: (1, C, h, w), with the "no mask" vector added; features: the finer maps that the decoder reads"""
        self.size = tuple(embedding.shape[-2:])
        base = embedding.flatten(2)[0]  # (C, P)
        positions = products.image_pe.flatten(2)[0]
        offset, matrices = torch.zeros_like(base[:, 0]), []
        self.layers: list[tuple[Reader, Summer, Reader, Changer]] = []
        untouched = True
        for block in decoder.transformer.layers:
            ask, answer = block.cross_attn_token_to_image, block.cross_attn_image_to_token
            heads = ask.num_heads
            place = offset[:, None] + positions
            keys = Reader(ask.k_proj, heads, base, place, untouched, products)
            values = Summer(ask.v_proj, heads, base, offset)
            queries = Reader(answer.q_proj, heads, base, place, untouched, products)
            change = Changer(block, base, offset, matrices, untouched)
            self.layers.append((keys, values, queries, change))
            base, offset, matrices, untouched = change.base, change.offset, change.matrices, False
        final = decoder.transformer.final_attn_token_to_image
        self.keys = Reader(final.k_proj, final.num_heads, base, offset[:, None] + positions, untouched, products)
        self.values = Summer(final.v_proj, final.num_heads, base, offset)
        conv = decoder.upscale_conv1
        weight = conv.weight - conv.weight.mean(1, keepdim=True)  # the following norm subtracts the mean
        bias = conv.bias - conv.bias.mean()
        self.upscale = weight.permute(1, 2, 3, 0).flatten(0, 2)  # (C / 4 * 4, C), the quarters of a pixel last
        self.upscale_base = self.upscale @ base
        self.upscale_matrices = [  # from factors to upscaled rows
            part
            for m, block in zip(matrices, decoder.transformer.layers, strict=True)
            for part in by_factor(m @ self.upscale.T, block.cross_attn_image_to_token)
        ]
        self.upscale_offset = (self.upscale @ offset + bias.repeat_interleave(4))[:, None]
        conv = decoder.upscale_conv2
        self.upscale2 = conv.weight.permute(2, 3, 1, 0).flatten(0, 2)  # (4 * C / 8, C / 4)
        self.upscale2_offset = conv.bias.repeat(4)[:, None]
        self.fine8 = self.fine4 = None
        if decoder.feature_maps:
            features = features if decoder.projects_once else decoder.project(features)
            self.fine8, self.fine4 = folded(features["stride_8"][0], features["stride_4"][0])


def folded(stride_8: Tensor, stride_4: Tensor) -> tuple[Tensor, Tensor]:
    """The finer features that are added while upscaling, in the order of `FastDecoder.draw`.

    stride_8: (C / 4, 2h, 2w); stride_4: (C / 8, 4h, 4w), both projected
    returns: (C / 4, 4, h, w), centred as the following norm does, and (4 * C / 8, 4, h, w)
    """
    h, w = stride_8.shape[1] // 2, stride_8.shape[2] // 2
    centred = (stride_8 - stride_8.mean(0)).reshape(-1, h, 2, w, 2).permute(0, 2, 4, 1, 3)
    parts = stride_4.reshape(-1, h, 2, 2, w, 2, 2)  # rows: pixel, first and second upscaling; then columns
    return centred.flatten(1, 2).contiguous(), parts.permute(3, 6, 0, 2, 5, 1, 4).flatten(0, 2).flatten(
        1, 2
    ).contiguous()


class FastDecoder:
    """`MaskDecoder` with its current weights, for prompts on one image without padding or mask prompts."""

    def __init__(
        self,
        decoder: MaskDecoder,
        embedding: Tensor,
        image_pe: Tensor,
        products: Products | None = None,
        features: Mapping[str, Tensor] | None = None,
    ) -> None:
        """embedding: (1, C, h, w), with the "no mask" vector added; image_pe: (1, C, h, w)

        products: of this decoder and these positions; made by default
        features: `EncoderOutput.features`, for a decoder that reads some
        raises: ValueError for a decoder of another kind (see `supports`)
        """
        if not supports(decoder):
            raise ValueError(f"the fast decoder cannot stand in for this {type(decoder).__name__}")
        self.decoder = decoder
        with torch.no_grad():
            self.products = products or Products(decoder, image_pe)
            self.image = ReadyImage(decoder, embedding, self.products, features)

    @torch.no_grad()
    def __call__(
        self, sparse: Tensor, select: Select, visible: tuple[int, int] | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Decode N prompts.

        sparse: (1, N, T, C), without padding
        select: chooses the masks to draw by their predicted IoU; called from several threads, for some of the prompts
            each
        visible: rows and columns of the embedding that are drawn; the rest, which is padding, stays 0. All by default
        returns: predicted IoU (N, 1 + M); which masks were drawn, (K, 2) prompt and mask, in that order; their
            low-res logits (K, 4h, 4w)
        """
        h, w = self.image.size
        visible = visible or (h, w)
        kind = sparse.device.type
        together = max(1, PIXELS_TOGETHER.get(kind, PIXELS_ELSEWHERE) // (h * w))
        drawn_together = max(1, DRAWN_TOGETHER.get(kind, DRAWN_ELSEWHERE) // (visible[0] * visible[1]))
        starts = range(0, sparse.shape[1], together)
        parts = spread(
            lambda start: self._group(sparse[:, start : start + together], select, visible, drawn_together),
            starts,
            sparse.device,
        )
        for start, (_, which, _) in zip(starts, parts, strict=True):
            which[:, 0] += start
        masks = [mask for part in parts for mask in part[2]]
        return (
            torch.cat([iou for iou, _, _ in parts]),
            torch.cat([which for _, which, _ in parts]),
            torch.cat(masks) if masks else sparse.new_zeros((0, 4 * h, 4 * w)),
        )

    def _group(
        self, sparse: Tensor, select: Select, visible: tuple[int, int], drawn_together: int
    ) -> tuple[Tensor, Tensor, list[Tensor]]:
        """`__call__` for prompts that are decoded together."""
        tokens, image = self.attend(sparse)
        iou = self.decoder.predict_iou(tokens)[0]
        which = select(iou).nonzero()  # (K, 2)
        if len(which) == 0:
            return iou, which, []
        hyper = self.classifiers(tokens[0, :, 1:], set(which[:, 1].tolist()))
        groups = zip(image.factors, self.image.upscale_matrices, strict=True)
        rows = torch.cat([against(factor, matrix).flatten(1, 2) for factor, matrix in groups], dim=1)  # (n, R, C)
        _, counts = which[:, 0].unique_consecutive(return_counts=True)  # masks to draw for each prompt that has any
        wanted = which.split([int(count.sum()) for count in counts.split(drawn_together)])
        masks = [self.draw(hyper, rows, image, part, visible) for part in wanted]
        return iou, which, masks

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
            image = change(queries(k, image).softmax(dim=2), v, image)  # over the tokens
        final = transformer.final_attn_token_to_image
        attended = self.ask(final, tokens + token_pe, self.image.keys, self.image.values, image)
        return transformer.layer_norm_final_attn(tokens + attended), image

    @staticmethod
    def ask(attention: Attention, tokens: Tensor, keys: Reader, values: Summer, image: PromptImage | None) -> Tensor:
        """Tokens attend to the image: (1, n, T, C) -> (1, n, T, C)"""
        q = split_heads(attention.q_proj(tokens) * attention.scaling, attention.num_heads)
        weights = keys(q, image).softmax(dim=-1)  # over the pixels
        return attention.out_proj(merge_heads(values(weights, image)))

    def classifiers(self, tokens: Tensor, drawn: set[int]) -> Tensor:
        """The linear pixel classifiers of the masks that are drawn, zeros for the others: tokens (n, 1 + M + T, C) ->
        (n, 1 + M, C / 8)"""
        networks = self.decoder.output_hypernetworks_mlps
        made = {i: network(tokens[:, i]) for i, network in enumerate(networks) if i in drawn}
        nothing = torch.zeros_like(next(iter(made.values())))
        return torch.stack([made.get(i, nothing) for i in range(len(networks))], dim=1)

    def draw(self, hyper: Tensor, rows: Tensor, image: PromptImage, which: Tensor, visible: tuple[int, int]) -> Tensor:
        """The chosen masks: hyper (n, 1 + M, C / 8), upscaled rows (n, R, C), which (K, 2) -> (K, 4h, 4w)"""
        prompts, place = which[:, 0].unique_consecutive(return_inverse=True)  # prompts with a mask to draw
        scale, weights = (self._cut(t, visible)[prompts].flatten(-2) for t in (image.scale, image.weights))
        base = self._cut(self.image.upscale_base, visible).flatten(-2)
        x = torch.addcmul(self.image.upscale_offset, base, scale)
        x = x.baddbmm_(rows[prompts].transpose(1, 2), weights).unflatten(1, (-1, 4))
        if self.image.fine8 is not None:
            x += self._cut_map(self.image.fine8, visible)
        norm = self.decoder.upscale_layer_norm  # x is already centred: (n, C / 4, 4, P)
        x *= torch.rsqrt(x.square().mean(dim=1, keepdim=True) + norm.eps)
        x = F.gelu(x.mul_(norm.weight[:, None, None]).add_(norm.bias[:, None, None])).flatten(2)
        x = (self.image.upscale2 @ x).add_(self.image.upscale2_offset)
        if self.image.fine4 is not None:
            x += self._cut_map(self.image.fine4, visible).flatten(1)
        x = F.gelu(x).unflatten(1, (4, -1))

        drawn = (hyper[prompts][:, None] @ x)[place, :, which[:, 1]].flatten(1)  # (K, 4 * 4 * P)
        h, w = self.image.size
        masks = drawn.new_zeros(len(which), 4 * h, 4 * w)
        high, wide = 4 * visible[0], 4 * visible[1]
        masks[:, :high, :wide] = drawn.index_select(1, places(visible, drawn.device)).unflatten(1, (high, wide))
        return masks

    @staticmethod
    def _cut_map(x: Tensor, visible: tuple[int, int]) -> Tensor:
        """(n, 4, h, w) -> (n, 4, rows * columns)"""
        return x[..., : visible[0], : visible[1]].flatten(2)

    def _cut(self, x: Tensor, visible: tuple[int, int]) -> Tensor:
        """The visible pixels: (..., h * w) -> (..., rows, columns)"""
        return x.unflatten(-1, self.image.size)[..., : visible[0], : visible[1]]


@lru_cache(maxsize=8)
def places(size: tuple[int, int], device: torch.device) -> Tensor:
    """Positions of the low-res pixels of ``size`` (h, w) after two upscalings that put the quarters of a pixel first.

    returns: (4h * 4w) int, indices into (2, 2, 2, 2, h, w): row and column of the second upscaling, then of the first
    """
    order = torch.arange(16 * size[0] * size[1], device=device).view(2, 2, 2, 2, *size)
    return order.permute(4, 2, 0, 5, 3, 1).flatten()
