"""How many bytes a module's weights take, and in which precision they are."""

from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

_SHORT_NAMES = {"float32": "fp32", "float16": "fp16", "bfloat16": "bf16", "float64": "fp64"}


def weight_bytes(module: "nn.Module") -> int:
    """Bytes of all parameters and buffers, each counted once."""
    return sum(_bytes_by_dtype(module).values())


def precision(module: "nn.Module") -> str:
    """The data type of at least 99 % of the bytes (“fp32”), else the two main ones."""
    sizes = _bytes_by_dtype(module).most_common(2)
    if not sizes:
        return "none"
    names = [_SHORT_NAMES.get(name, name) for name, _ in sizes]
    is_pure = sizes[0][1] >= 0.99 * weight_bytes(module)
    return names[0] if is_pure else "/".join(names)


def _bytes_by_dtype(module: "nn.Module") -> Counter[str]:
    sizes: Counter[str] = Counter()
    for tensor in (*module.parameters(), *module.buffers()):
        sizes[str(tensor.dtype).removeprefix("torch.")] += tensor.numel() * tensor.element_size()
    return sizes
