"""How many bytes a module's weights take: of one that is there, or from a file's header alone."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from partwise.vram.precision import AS_IT_IS, NO_POLICY, PrecisionPolicy, form_bytes
from partwise.vram.safetensors_file import StoredTensor

if TYPE_CHECKING:
    from torch import nn

WEIGHT_ALIGNMENT = 256  # where a weight begins within a slab
_NO_FLOATS = ("I64", "I32", "I16", "I8", "U8", "BOOL")


def weight_bytes(module: "nn.Module") -> int:
    """Bytes of all parameters and buffers, each counted once."""
    tensors = (*module.parameters(), *module.buffers())
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def stored_bytes(
    header: Mapping[str, StoredTensor],
    precision: str,
    policy: PrecisionPolicy = NO_POLICY,
    *,
    key_prefixes: Sequence[str] = ("dit.",),
    ignored_keys: Collection[str] = frozenset(),
) -> int:
    """Bytes of the module's tensors when `checkpoint.load_weights` has loaded this file.

    Buffers that the file does not hold are not in it, nor what alignment adds (`padded_bytes`).
    """
    return sum(_sizes(header, precision, policy, key_prefixes, ignored_keys))


def padded_bytes(
    header: Mapping[str, StoredTensor],
    precision: str,
    policy: PrecisionPolicy = NO_POLICY,
    *,
    key_prefixes: Sequence[str] = ("dit.",),
    ignored_keys: Collection[str] = frozenset(),
) -> int:
    """The same with each tensor aligned as in a slab: what a device is asked for."""
    sizes = _sizes(header, precision, policy, key_prefixes, ignored_keys)
    return sum(-(-size // WEIGHT_ALIGNMENT) * WEIGHT_ALIGNMENT for size in sizes)


def plain_key(file_key: str, key_prefixes: Sequence[str]) -> str:
    """The module's key for a file's: without the prefix that leads it."""
    prefix = next((prefix for prefix in key_prefixes if file_key.startswith(prefix)), "")
    return file_key.removeprefix(prefix)


def _sizes(
    header: Mapping[str, StoredTensor],
    precision: str,
    policy: PrecisionPolicy,
    key_prefixes: Sequence[str],
    ignored_keys: Collection[str],
) -> Iterator[int]:
    for file_key, stored in header.items():
        key = plain_key(file_key, key_prefixes)
        if key in ignored_keys:
            continue
        is_float = stored.dtype not in _NO_FLOATS
        form = policy.form(key, stored.shape, is_float=is_float, precision=precision)
        yield from (stored.byte_count,) if form == AS_IT_IS else form_bytes(form, stored.shape)
