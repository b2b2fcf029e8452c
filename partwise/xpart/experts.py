"""The mixture of experts: two of eight by each token's choice, and one that all share.

Specification section 5. Tokens are put in order of their experts once, so each expert runs once, on
its own tokens, and adds to them where they are.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from partwise.xpart.products import multiply


class Entry(nn.Module):
    """An expert's first layer, with its GELU."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.proj = nn.Linear(width, hidden)

    def forward(self, tokens: Tensor) -> Tensor:
        """(n, hidden) from (n, C)."""
        return torch.ops.aten.gelu_(multiply(self.proj, tokens, tokens.dtype))


@dataclass(frozen=True)
class Share:
    """The tokens of one expert: (n,) int64 rows, no row twice, and their (n,) float32 weights."""

    rows: Tensor
    weights: Tensor


class Expert(nn.Module):
    """One feed-forward network; called once for all its tokens of all parts."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        # the published keys leave out 1
        self.net = nn.Sequential(Entry(width, hidden), nn.Identity(), nn.Linear(hidden, width))

    def forward(
        self, tokens: Tensor, residual: Tensor, *, share: Share | None = None, row_chunk: int
    ) -> None:
        """Add to (n, C) float32 `residual` what this expert makes of (n, C) `tokens`.

        share: of which tokens and with which weights; none means of all, with 1. row_chunk: how
        many rows are computed at once.
        """
        if share is None:
            for rows, out in zip(tokens.split(row_chunk), residual.split(row_chunk), strict=True):
                out.add_(self._made_of(rows))
            return
        chunks = zip(share.rows.split(row_chunk), share.weights.split(row_chunk), strict=True)
        for places, weights in chunks:
            found = self._made_of(tokens[places]).float().mul_(weights[:, None])
            residual.index_add_(0, places, found)
            del found  # before the next chunk's

    def _made_of(self, tokens: Tensor) -> Tensor:
        hidden = self.net[0](tokens)
        return multiply(self.net[2], hidden, hidden.dtype)


@dataclass(frozen=True)
class Routes:
    """Who goes where, in order of experts: n tokens, k choices each.

    rows: (n·k,) int64 tokens. weights: (n·k,) float32. counts: how many go to each expert.
    """

    rows: Tensor
    weights: Tensor
    counts: list[int]

    def shares(self) -> list[Share]:
        """Of each expert."""
        return [
            Share(rows, weights)
            for rows, weights in zip(
                self.rows.split(self.counts), self.weights.split(self.counts), strict=True
            )
        ]


class MixtureOfExperts(nn.Module):
    """Experts, and the gate by which tokens choose."""

    def __init__(self, width: int, hidden: int, *, num_experts: int, top_k: int) -> None:
        super().__init__()
        self.top_k = top_k
        self.gate = nn.Linear(width, num_experts, bias=False)
        self.experts = nn.ModuleList(Expert(width, hidden) for _ in range(num_experts))
        self.shared_experts = Expert(width, hidden)

    def forward(self, tokens: Tensor, logits: Tensor, residual: Tensor, *, row_chunk: int) -> None:
        """Add to (n, C) float32 `residual` what the experts make of (n, C) `tokens`.

        logits: (n, E) float32, the gate's. An expert that no token chose is not called.
        """
        shares = self.route(logits).shares()
        for expert, share in zip(self.experts, shares, strict=True):
            if len(share.rows):
                expert(tokens, residual, share=share, row_chunk=row_chunk)
        self.shared_experts(tokens, residual, row_chunk=row_chunk)

    def route(self, logits: Tensor) -> Routes:
        """The experts of largest probability; their weights are not made to sum to 1."""
        weights, experts = logits.softmax(dim=-1).topk(self.top_k, dim=-1)  # (n, k) each
        chosen = experts.flatten()
        order = chosen.argsort(stable=True)
        known = torch.arange(logits.shape[-1], device=logits.device)
        counts = (chosen[:, None] == known).sum(dim=0).tolist()
        return Routes(order // self.top_k, weights.flatten()[order], counts)
