"""The heads of P3-SAM over any number of points and prompts, in little memory and exactly.

A first layer acts on a concatenation, so it is a sum: the points' term is made once for all prompts
of a batch, a prompt's term once for all points (specification section 4). The points go by in
chunks, and the two maxima over the cloud run along. All steps have the same number of rows
whatever the batch and the chunk, so neither changes a bit of the result.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from partwise.p3sam.cost import PRODUCT_ROWS_CPU, PRODUCT_ROWS_GPU
from partwise.p3sam.model import MASKS_PER_PROMPT, P3SAM
from partwise.points.projection import Mlp

_FIRST_SHARE = 0.68  # of the work, by multiplications

Check = Callable[[float], None]


@dataclass(frozen=True)
class HeadOutput:
    """What the heads say of each prompt.

    logits: (P, N, 3) float32 mask logits; a point is in a mask where its logit is > 0.
    ious: (P, 3) float32 predicted IoU of each mask, in [0, 1].
    """

    logits: Tensor
    ious: Tensor


class PromptHeads:
    """The heads, ready to be asked about one cloud; holds copies of their weights in `dtype`.

    features: (N, 512) float32, here or on the host, from where each product's rows are then fetched
    anew for each batch. points: (N, 3) float32, in the network's frame. dtype: float32, or bfloat16
    or float16 for the hidden layers; coordinates, maxima and logits stay float32. point_chunk: how
    many points' terms are held at once, in whole products; 0 means one product.
    """

    def __init__(
        self,
        model: P3SAM,
        features: Tensor,
        points: Tensor,
        *,
        dtype: torch.dtype = torch.float32,
        point_chunk: int = 0,
    ) -> None:
        self._features, self._points = features, points
        self._rows = product_rows(points.device)
        self._chunk = min(self._rows * max(1, point_chunk // self._rows), len(points))
        first = [model.seg_mlp_1, model.seg_mlp_2, model.seg_mlp_3]
        second = [model.seg_s2_mlp_1, model.seg_s2_mlp_2, model.seg_s2_mlp_3]
        self._first = _Stage(first, model.seg_s2_mlp_g, features.shape[1], dtype)
        self._second = _Stage(second, model.iou_mlp, features.shape[1], dtype)
        self._judge = model.iou_mlp_out

    @torch.inference_mode()
    def predict(self, prompts: Tensor, check: Check = lambda share: None) -> HeadOutput:
        """Masks for one batch of (P, 3) float32 prompts in the network's frame.

        `check` hears often which share is done, and may raise to stop.
        """
        logits = self._points.new_empty(len(prompts), len(self._points), MASKS_PER_PROMPT)
        unseen = prompts.new_empty(len(prompts), 0)
        seen = self._sweep(self._first, prompts, unseen, logits, lambda s: check(_FIRST_SHARE * s))
        judged = self._sweep(
            self._second,
            prompts,
            seen,
            logits,
            lambda share: check(_FIRST_SHARE + (1 - _FIRST_SHARE) * share),
        )
        ious = torch.cat([self._judge(_alone(row)).sigmoid() for row in judged])
        return HeadOutput(logits, ious)

    def _sweep(
        self, stage: "_Stage", prompts: Tensor, seen: Tensor, logits: Tensor, check: Check
    ) -> Tensor:
        """Put a stage's (P, N, 3) logits over those before; its (P, width) maxima of the cloud."""
        prompt_terms = stage.prompt_terms(prompts, seen)
        largest = prompts.new_full((len(prompts), stage.width), -torch.inf)
        terms = logits.new_empty(self._chunk, stage.split + stage.width, dtype=stage.dtype)
        starts = range(0, len(self._points), self._chunk)
        for i, start in enumerate(starts):
            chunk = slice(start, start + self._chunk)
            work = _Chunk(stage, terms, self._features[chunk], self._points[chunk], self._rows)
            for j, term in enumerate(prompt_terms):
                check((i + j / len(prompts)) / len(starts))
                summary = work.ask(term, logits[j, chunk])
                torch.maximum(largest[j], summary, out=largest[j])
            del work  # its memory, before the next one takes as much
        return largest


def product_rows(device: torch.device) -> int:
    """Rows of one matrix product on a device: a constant, so that results do not vary."""
    return PRODUCT_ROWS_CPU if device.type == "cpu" else PRODUCT_ROWS_GPU


class _Stage:
    """Three mask MLPs and a summary MLP; their first layers taken apart by what they act on.

    The inputs are, in this order: what was seen of the cloud (second stage only), the point's
    features, its coordinates, the prompt's, three mask logits (not for the first masks).
    """

    def __init__(
        self, mask_mlps: list[Mlp], summary_mlp: Mlp, feature_width: int, dtype: torch.dtype
    ) -> None:
        first = [mlp.layers[0] for mlp in (*mask_mlps, summary_mlp)]
        inner = feature_width + 6
        seen_width = first[-1].in_features - inner - MASKS_PER_PROMPT
        fixed = [seen_width, feature_width, 3, 3]
        parts = [
            linear.weight.split([*fixed, linear.in_features - seen_width - inner], dim=1)
            for linear in first
        ]
        self.dtype = dtype
        self.mask_width, self.width = first[0].out_features, first[-1].out_features
        self.split = self.mask_width * len(mask_mlps)
        from_seen, self.from_features, self.from_point, from_prompt = (
            torch.cat([part[i] for part in parts]).T for i in range(4)
        )
        self.from_prompt_and_seen = torch.cat([from_prompt, from_seen])
        self.bias = torch.cat([linear.bias for linear in first])
        self.masks_from_masks = torch.cat([part[4] for part in parts[:-1]]).T.to(dtype)
        self.summary_from_masks = parts[-1][4].T.to(dtype)
        self.mask_layers = [_layers(mlp, dtype) for mlp in mask_mlps]
        self.summary_layers = _layers(summary_mlp, dtype)

    def prompt_terms(self, prompts: Tensor, seen: Tensor) -> Tensor:
        """(P, split + width): what a prompt adds to every point's first layer."""
        both = torch.cat([prompts, seen], dim=1)
        return torch.cat([_alone(row) @ self.from_prompt_and_seen for row in both]).to(self.dtype)

    def point_terms(self, features: Tensor, points: Tensor, out: Tensor) -> None:
        """(n, split + width) into `out`: what some points add to their first layer."""
        exact = out if self.dtype == torch.float32 else torch.empty_like(out, dtype=torch.float32)
        torch.addmm(self.bias, features, self.from_features, out=exact)
        torch.addmm(exact, points, self.from_point, out=exact)
        if exact is not out:
            out.copy_(exact)


@dataclass(frozen=True)
class _Layers:
    """The second and third layer of an MLP, weights as (in, out)."""

    second: Tensor
    second_bias: Tensor
    third: Tensor
    third_bias: Tensor


def _layers(mlp: Mlp, dtype: torch.dtype) -> _Layers:
    _, second, third = mlp.layers
    tensors = (second.weight.T, second.bias, third.weight.T, third.bias)
    return _Layers(*(tensor.to(dtype) for tensor in tensors))


class _Buffers:
    """Memory for one product's rows, used over and over for a chunk of points."""

    def __init__(self, stage: _Stage, rows: int, terms: Tensor) -> None:
        self.masks = terms.new_empty(rows, MASKS_PER_PROMPT)
        self.first = terms.new_empty(rows, stage.split)
        self.second = terms.new_empty(rows, stage.mask_width)
        self.mask = terms.new_empty(rows, 1)
        self.summary = terms.new_empty(rows, stage.width)
        self.summary_second = terms.new_empty(rows, stage.width)


class _Chunk:
    """A stage at work on some of the points, in steps of equal rows.

    Products are not all that depends on the number of rows: GELU's last bit differs between the
    vectorised middle and the end of an array. So a step does everything for its rows. Products of
    few rows also depend on where an operand begins in memory, so what came from outside is copied
    into torch's own, which is aligned.
    """

    def __init__(
        self, stage: _Stage, terms: Tensor, features: Tensor, points: Tensor, rows: int
    ) -> None:
        count = len(points)
        self._stage, self._terms = stage, terms[:count]
        self._steps = [slice(i, min(i + rows, count)) for i in range(0, count, rows)]
        for step in self._steps:
            stage.point_terms(
                features[step].to(terms.device, copy=True),
                points[step].to(terms.device, copy=True),
                self._terms[step],
            )
        self._buffers = _Buffers(stage, min(rows, count), terms)

    def ask(self, prompt_term: Tensor, logits: Tensor) -> Tensor:
        """Put the masks for a prompt into (n, 3) `logits`, which hold those of the stage before.

        Returns the (width,) float32 maxima of the summary over the chunk.
        """
        summaries = []
        for step in self._steps:
            self._masks(self._terms[step], prompt_term, logits[step])
            summaries.append(self._summary(self._terms[step], prompt_term, logits[step]))
        return torch.stack(summaries).amax(dim=0).float()

    def _masks(self, terms: Tensor, prompt_term: Tensor, logits: Tensor) -> None:
        stage, buffers, split = self._stage, self._buffers, self._stage.split
        first = buffers.first[: len(terms)]
        if len(stage.masks_from_masks):
            before = buffers.masks[: len(terms)].copy_(logits)
            torch.addmm(terms[:, :split], before, stage.masks_from_masks, out=first)
            first += prompt_term[:split]
        else:
            torch.add(terms[:, :split], prompt_term[:split], out=first)
        hidden = _gelu(first).view(len(terms), MASKS_PER_PROMPT, -1)
        for i, layers in enumerate(stage.mask_layers):
            second = buffers.second[: len(terms)]
            torch.addmm(layers.second_bias, hidden[:, i], layers.second, out=second)
            mask = buffers.mask[: len(terms)]
            torch.addmm(layers.third_bias, _gelu(second), layers.third, out=mask)
            logits[:, i : i + 1] = mask

    def _summary(self, terms: Tensor, prompt_term: Tensor, logits: Tensor) -> Tensor:
        stage, buffers, split = self._stage, self._buffers, self._stage.split
        layers, count = stage.summary_layers, len(terms)
        masks = buffers.masks[:count].copy_(logits)
        hidden, second = buffers.summary[:count], buffers.summary_second[:count]
        torch.addmm(terms[:, split:], masks, stage.summary_from_masks, out=hidden)
        hidden += prompt_term[split:]
        torch.addmm(layers.second_bias, _gelu(hidden), layers.second, out=second)
        torch.addmm(layers.third_bias, _gelu(second), layers.third, out=hidden)
        return hidden.amax(dim=0)


def _alone(row: Tensor) -> Tensor:
    """A row as a (1, W) matrix of its own, so that its neighbours cannot change its last bits."""
    return row.clone()[None]


def _gelu(values: Tensor) -> Tensor:
    """GELU by the error function, in place."""
    return torch.ops.aten.gelu_(values)
