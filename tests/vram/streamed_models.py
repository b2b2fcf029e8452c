"""A model of units within units, its checkpoint, and components of it; for tests of streaming."""

from collections.abc import Callable, Sequence
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor, nn

from partwise.core.progress import CancelToken
from partwise.vram.checkpoint import load_weights, open_checkpoint
from partwise.vram.component import ComponentSpec, LoadOrder
from partwise.vram.footprint import padded_bytes

WIDTH, BLOCKS, EXPERTS = 48, 5, 3
BLOCK_NAMES = [f"blocks.{i}" for i in range(BLOCKS)]


class Block(nn.Module):
    """A layer of its own, then some of its experts, then its norm."""

    def __init__(self, width: int, i: int) -> None:
        super().__init__()
        self.layer = nn.Linear(width, width)
        self.experts = nn.ModuleList(nn.Linear(width, width + i) for _ in range(EXPERTS))
        self.norm = nn.LayerNorm(width)
        self.register_buffer("table", torch.zeros(width))

    def forward(self, tokens: Tensor, chosen: Sequence[int] = range(EXPERTS)) -> Tensor:
        hidden = self.layer(tokens).sin() + self.table
        for i in chosen:
            hidden = hidden + self.experts[i](hidden)[:, : hidden.shape[1]].cos()
        return self.norm(hidden)


class Tower(nn.Module):
    """Blocks between layers that stay; one weight is of two blocks, so it stays as well."""

    def __init__(self, width: int = WIDTH) -> None:
        super().__init__()
        self.first = nn.Linear(width, width)
        self.blocks = nn.ModuleList(Block(width, i) for i in range(BLOCKS))
        self.last = nn.Linear(width, 3, bias=False)
        self.width = width

    def forward(
        self,
        tokens: Tensor,
        order: Sequence[int] = range(BLOCKS),
        before: Callable[[int], None] = lambda i: None,
        chosen: Sequence[int] = range(EXPERTS),
    ) -> Tensor:
        hidden = self.first(tokens)
        for i in order:
            before(i)
            hidden = self.blocks[i](hidden, chosen)
        return self.last(hidden)


def write_tower(path: Path, dtype: torch.dtype = torch.float32, width: int = WIDTH) -> Path:
    torch.manual_seed(5)
    state = {key: torch.randn_like(value) / 3 for key, value in Tower(width).state_dict().items()}
    safetensors.torch.save_file({key: value.to(dtype) for key, value in state.items()}, path)
    return path


def units_of(module: nn.Module, kind: str) -> list[str]:
    """Blocks; or blocks and, within them, experts."""
    names = []
    for i in range(BLOCKS if kind in ("blocks", "experts") else 0):
        names.append(f"blocks.{i}")
        names += [f"blocks.{i}.experts.{k}" for k in range(EXPERTS) if kind == "experts"]
    return names


def build_tower(path: Path, width: int = WIDTH) -> Callable[[LoadOrder], nn.Module]:
    def build(order: LoadOrder) -> nn.Module:
        with torch.device("meta"):
            module = Tower(width)
        load_weights(
            module,
            open_checkpoint(path),
            precision=order.precision,
            empty=order.empty,
            is_mapped=order.is_mapped,
            cancel=order.cancel,
            progress=order.progress,
        )
        return module

    return build


def tower_spec(
    path: Path, name: str = "tower", *, width: int = WIDTH, model: str = ""
) -> ComponentSpec:
    return ComponentSpec(
        name,
        name.upper(),
        build_tower(path, width),
        count_bytes=lambda precision: padded_bytes(open_checkpoint(path), precision),
        model=model,
        stream_units=units_of,
    )


def specs(path: Path) -> list[ComponentSpec]:
    """For a process of its own."""
    return [tower_spec(path)]


def tokens_of(width: int = WIDTH) -> Tensor:
    return torch.linspace(-1, 1, 7 * width).view(7, width)


def compute(module: nn.Module, *, progress: object, cancel: CancelToken) -> list[float]:
    """What the tower makes of `tokens_of`, as plain numbers."""
    with torch.inference_mode():
        tokens = tokens_of(module.width).to(module.get_parameter("first.weight").dtype)
        found: list[float] = module(tokens).flatten().tolist()
    return found
