"""How many bytes a module's weights take: of one that is there, or from a file's header alone."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from partwise.vram.precision import AS_IT_IS, NO_POLICY, PrecisionPolicy, form_bytes
from partwise.vram.safetensors_file import StoredTensor

if TYPE_CHECKING:
    from torch import nn

WEIGHT_ALIGNMENT = 256  # where a weight begins within a slab
_BUFFER_ALIGNMENT = 512  # what torch's allocator for GPUs rounds up to
_STORED_FORMS = {"F32": "fp32", "F16": "fp16", "BF16": "bf16"}
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
    return sum(map(aligned, _sizes(header, precision, policy, key_prefixes, ignored_keys)))


def tensor_bytes(
    header: Mapping[str, StoredTensor],
    precision: str,
    policy: PrecisionPolicy = NO_POLICY,
    *,
    key_prefixes: Sequence[str] = ("dit.",),
    ignored_keys: Collection[str] = frozenset(),
    is_mapped_on_host: bool = False,
) -> dict[str, tuple[int, ...]]:
    """By the module's key, bytes of each tensor that holds this weight; for `streamed_bytes`.

    is_mapped_on_host: only what takes memory where the CPU computes on the mapped file: none of
    those that are stored in the type they compute in. Not for int8 and int4, which are read.
    """
    found = {}
    for key, stored, form in _forms(header, precision, policy, key_prefixes, ignored_keys):
        if is_mapped_on_host and form in (AS_IT_IS, _STORED_FORMS.get(stored.dtype)):
            continue
        found[key] = _tensors(stored, form)
    return found


def streamed_bytes(sizes: Mapping[str, Sequence[int]], units: Sequence[str]) -> int:
    """What a device holds of weights that are streamed: all that is in no unit, and the slots.

    sizes: by key, see `tensor_bytes`. units: names of submodules. There are two slots, each as
    large as the largest unit; where units are nested, one more for each further level.
    """
    rest, by_unit = 0, dict.fromkeys(units, 0)
    for key, tensors in sizes.items():
        size = sum(map(aligned, tensors))
        unit = unit_of(key.rpartition(".")[0], by_unit)
        if unit:
            by_unit[unit] += size
        else:
            rest += size
    used = [unit for unit, size in by_unit.items() if size]
    largest = max(by_unit.values(), default=0)
    return buffer_bytes(rest) + slot_count(used) * buffer_bytes(largest)


def unit_of(path: str, units: Collection[str]) -> str:
    """The innermost unit that a submodule is or lies in; empty when there is none."""
    while path and path not in units:
        path = path.rpartition(".")[0]
    return path


def slot_count(units: Collection[str]) -> int:
    """How many slots these units need: as many as are nested, and one to read ahead into."""
    known = frozenset(units)
    return 1 + max((_depth(unit, known) for unit in known), default=-1)


def aligned(byte_count: int) -> int:
    """A weight's bytes with what is left free before the next one."""
    return -(-byte_count // WEIGHT_ALIGNMENT) * WEIGHT_ALIGNMENT


def buffer_bytes(byte_count: int) -> int:
    """What a device is asked for to hold so many bytes of weights."""
    return -(-byte_count // _BUFFER_ALIGNMENT) * _BUFFER_ALIGNMENT


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
    for _, stored, form in _forms(header, precision, policy, key_prefixes, ignored_keys):
        yield from _tensors(stored, form)


def _forms(
    header: Mapping[str, StoredTensor],
    precision: str,
    policy: PrecisionPolicy,
    key_prefixes: Sequence[str],
    ignored_keys: Collection[str],
) -> Iterator[tuple[str, StoredTensor, str]]:
    """The module's key of each stored tensor, and the form it is held in."""
    for file_key, stored in header.items():
        key = plain_key(file_key, key_prefixes)
        if key not in ignored_keys:
            is_float = stored.dtype not in _NO_FLOATS
            form = policy.form(key, stored.shape, is_float=is_float, precision=precision)
            yield key, stored, form


def _tensors(stored: StoredTensor, form: str) -> tuple[int, ...]:
    return (stored.byte_count,) if form == AS_IT_IS else form_bytes(form, stored.shape)


def _depth(unit: str, units: Collection[str]) -> int:
    """How many units it lies in, itself counted."""
    depth, path = 0, unit
    while path := unit_of(path, units):
        depth, path = depth + 1, path.rpartition(".")[0]
    return depth
