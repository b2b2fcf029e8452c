"""Space-filling curves: the four orders in which attention walks the voxels.

Knows integer grids only. Curves are numbered as in the published configuration: z, z-trans,
hilbert, hilbert-trans; “trans” swaps x and y first.
"""

import torch
from torch import Tensor

CURVES = ("z", "z-trans", "hilbert", "hilbert-trans")
MAX_DEPTH = 16  # three axes of 16 bits and the cloud's number fit into 63 bits


def curve_depth(grid: Tensor) -> int:
    """Bits per axis for a grid: bit length of the largest coordinate plus one.

    grid: (M, 3) int64, ≥ 0. Raises ValueError when the grid needs more than 16 bits.
    """
    depth = (int(grid.max()) + 1).bit_length() if len(grid) else 1
    if depth > MAX_DEPTH:
        raise ValueError(f"the grid needs {depth} bits an axis; curves have at most {MAX_DEPTH}")
    return depth


def curve_codes(grid: Tensor, depth: int, curve: str) -> Tensor:
    """(M,) int64 position of each cell along a curve; cells that differ have codes that differ.

    grid: (M, 3) int64 in [0, 2**depth).
    """
    x, y, z = grid.unbind(1)
    if curve.endswith("-trans"):
        x, y = y, x
    if curve.startswith("hilbert"):
        return _prefix_xor(_interleave(*_hilbert_axes([x, y, z], depth)))
    return _interleave(x, y, z)


def curve_order(grid: Tensor, depth: int, curve: str) -> Tensor:
    """(M,) int64 cells in the order of a curve."""
    return curve_codes(grid, depth, curve).argsort()


def _interleave(x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    """Bit i of x goes to bit 3i + 2, of y to 3i + 1, of z to 3i."""
    return _spread(x) << 2 | _spread(y) << 1 | _spread(z)


def _spread(value: Tensor) -> Tensor:
    """Put two zero bits before each of the lowest 21 bits."""
    value = value & 0x1FFFFF
    for shift, mask in (
        (32, 0x1F00000000FFFF),
        (16, 0x1F0000FF0000FF),
        (8, 0x100F00F00F00F00F),
        (4, 0x10C30C30C30C30C3),
        (2, 0x1249249249249249),
    ):
        value = (value | value << shift) & mask
    return value


def _hilbert_axes(axes: list[Tensor], depth: int) -> list[Tensor]:
    """Skilling's transform of coordinates; its last Gray step is `_prefix_xor` on the code."""
    for bit in range(depth - 1, -1, -1):
        low = (1 << bit) - 1
        for i in range(3):
            is_set = (axes[i] >> bit & 1).bool()
            swapped = torch.where(is_set, 0, (axes[0] ^ axes[i]) & low)
            axes[i] = axes[i] ^ swapped
            axes[0] = axes[0] ^ torch.where(is_set, low, swapped)
    return axes


def _prefix_xor(gray: Tensor) -> Tensor:
    """The binary value of a Gray code of at most 63 bits."""
    for shift in (1, 2, 4, 8, 16, 32):
        gray = gray ^ gray >> shift
    return gray
