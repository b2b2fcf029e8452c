"""A module's tensors one by one: where the host keeps each, and where the module holds it.

Imported late: it needs torch.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from partwise.vram.mapped import take_notes
from partwise.vram.slabs import Slab


@dataclass(frozen=True)
class Weight:
    """A tensor of the module: `source_bytes` of a piece of host memory from `offset` on.

    stored: its type there; dtype: the one it computes in. is_mapped: the piece is a file's.
    """

    piece: int
    offset: int
    shape: tuple[int, ...]
    stored: torch.dtype
    dtype: torch.dtype
    is_mapped: bool = False

    @property
    def byte_count(self) -> int:
        """Bytes where it computes."""
        return self._count * self.dtype.itemsize

    @property
    def source_bytes(self) -> int:
        """Bytes where the host keeps it."""
        return self._count * self.stored.itemsize

    @property
    def is_cast(self) -> bool:
        """Whether it computes in another type than it is kept in."""
        return self.stored != self.dtype

    @property
    def _count(self) -> int:
        return torch.Size(self.shape).numel()

    def source(self, memory: Sequence[Tensor]) -> Tensor:
        """It as it is kept, a view of the memory."""
        part = memory[self.piece][self.offset : self.offset + self.source_bytes]
        return part.view(self.stored).view(self.shape)

    def at(self, memory: Tensor, offset: int) -> Tensor:
        """Its place, in the type that it computes in, from a byte of uint8 memory on."""
        return memory[offset : offset + self.byte_count].view(self.dtype).view(self.shape)

    def on_meta(self) -> Tensor:
        """Its shape and type without any memory."""
        return torch.empty(self.shape, dtype=self.dtype, device="meta")


@dataclass(frozen=True)
class Use:
    """Where a module holds a tensor; several uses may share one. path: the owner's name."""

    path: str
    owner: nn.Module
    name: str
    is_parameter: bool
    weight: int

    def put(self, tensor: Tensor) -> None:
        """Let the module hold this one: an `nn.Parameter` where it held one."""
        if self.is_parameter:
            assert isinstance(tensor, nn.Parameter)
            self.owner._parameters[self.name] = tensor
        else:
            self.owner._buffers[self.name] = tensor


class Parts:
    """A module's tensors, found in slabs or made pieces of their own (`others`)."""

    def __init__(self, slabs: list[Slab]) -> None:
        self.weights: list[Weight] = []
        self.uses: list[Use] = []
        self.others: list[Tensor] = []
        self._slabs = slabs
        self._known: dict[tuple[object, ...], int] = {}

    def take(self, module: nn.Module) -> None:
        """Note every parameter and buffer; the module's training flags are set for use."""
        module.requires_grad_(False).eval()
        for path, owner in module.named_modules():
            mapped = take_notes(owner)
            for name, parameter in owner._parameters.items():
                if parameter is not None:
                    number = self._number(parameter, mapped.get(name))
                    self.uses.append(Use(path, owner, name, True, number))
            for name, buffer in owner._buffers.items():
                if buffer is not None:
                    number = self._number(buffer, mapped.get(name))
                    self.uses.append(Use(path, owner, name, False, number))

    @property
    def memory(self) -> list[Tensor]:
        """(n,) uint8 each: all pieces that hold weights."""
        return [slab.used for slab in self._slabs] + self.others

    def _number(self, tensor: Tensor, mapped: torch.dtype | None) -> int:
        """Which weight it is; the same for tensors of the same memory.

        mapped: the type that one of a mapped file computes in; None for all others.
        """
        if tensor.is_meta:
            raise ValueError("a built module has tensors on meta; `build` must give it its weights")
        place = tensor.data_ptr() if tensor.numel() else id(tensor)
        key = (place, tensor.shape, tensor.stride(), tensor.dtype)
        if key not in self._known:
            self._known[key] = len(self.weights)
            self.weights.append(self._weight(tensor.detach(), mapped))
        return self._known[key]

    def _weight(self, tensor: Tensor, mapped: torch.dtype | None) -> Weight:
        piece, offset = self._find(tensor)
        if piece < 0:
            piece, offset = len(self._slabs) + len(self.others), 0
            self.others.append(tensor.contiguous().view(-1).view(torch.uint8))
        dtype = mapped or tensor.dtype
        return Weight(piece, offset, tuple(tensor.shape), tensor.dtype, dtype, mapped is not None)

    def _find(self, tensor: Tensor) -> tuple[int, int]:
        """The slab that a tensor lies in and where; −1 when it was made elsewhere."""
        if tensor.is_contiguous() and tensor.numel():
            for i, slab in enumerate(self._slabs):
                if (offset := slab.offset_of(tensor)) is not None:
                    return i, offset
        return -1, 0


def as_parameters(uses: Sequence[Use], tensors: dict[int, Tensor]) -> list[tuple[Use, Tensor]]:
    """What each use is given, by its weight's number; uses of one weight share one parameter."""
    numbers = {use.weight for use in uses if use.is_parameter}
    parameters = {i: nn.Parameter(tensors[i], requires_grad=False) for i in numbers}
    return [
        (use, parameters[use.weight] if use.is_parameter else tensors[use.weight]) for use in uses
    ]
