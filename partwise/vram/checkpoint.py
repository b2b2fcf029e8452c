"""A checkpoint file as a lazy mapping, and its tensors into a module: strict, streamed, cast once.

Knows nn.Module and bytes, nothing of our models. Nothing of a file is read until it is asked for,
and then one tensor at a time into its own memory, so that the host never holds the weights twice;
or not at all, when its tensors are to be views of the mapped file.
"""

import contextlib
import functools
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from partwise.core.errors import WeightsError
from partwise.core.progress import CancelToken, Progress, ProgressCallback, ignore_progress
from partwise.vram import pickled_file, tensor_stream
from partwise.vram.component import new_tensor
from partwise.vram.footprint import plain_key
from partwise.vram.mapped import MappedFile, note_type
from partwise.vram.precision import AS_IT_IS, NO_POLICY, QUANTIZED, PrecisionPolicy
from partwise.vram.safetensors_file import StoredTensor, read_header, short

if TYPE_CHECKING:
    import torch
    from torch import nn

    Empty = Callable[[tuple[int, ...], torch.dtype], torch.Tensor]

SAFETENSORS = ".safetensors"
_NAMED_KEYS = 4


class Checkpoint(Mapping[str, StoredTensor]):
    """The tensors of a file by key; holds the header alone, and no open file."""

    def __init__(self, path: Path, tensors: Mapping[str, StoredTensor]) -> None:
        self.path = path
        self._tensors = tensors

    def __getitem__(self, key: str) -> StoredTensor:
        return self._tensors[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)

    @property
    def weight_bytes(self) -> int:
        """Bytes of all tensors, as they are in the file."""
        return sum(tensor.byte_count for tensor in self._tensors.values())

    def mapped(self) -> MappedFile | None:
        """The file's bytes without reading them; None for a format that cannot be used so."""
        if self.path.suffix != SAFETENSORS:
            return None
        end = max((tensor.offset + tensor.byte_count for tensor in self.values()), default=0)
        return MappedFile(self.path, end)

    @contextlib.contextmanager
    def reader(self) -> "Iterator[tensor_stream.Reader]":
        """What reads a tensor into a given one; the file is open until the end of the block."""
        if self.path.suffix == SAFETENSORS:
            with tensor_stream.SafetensorsReader(self.path) as reader:
                yield reader
        else:
            yield pickled_file.PickledReader(self.path)


@dataclass(frozen=True)
class LoadedWeights:
    """What a module got: how many tensors, their bytes (mapped ones as well), how long it took."""

    tensor_count: int
    weight_bytes: int
    elapsed_s: float


@dataclass(frozen=True)
class _Pair:
    """A tensor of the module, the file's tensor for it, and the form it gets.

    dtype: the module's own type.
    """

    key: str
    file_key: str
    stored: StoredTensor
    shape: tuple[int, ...]
    dtype: "torch.dtype"
    form: str

    @property
    def is_quantized(self) -> bool:
        """Whether it becomes codes and scales."""
        return self.form in QUANTIZED

    @property
    def wanted(self) -> "torch.dtype":
        """The type that it computes in, unless it is quantised."""
        import torch

        dtypes = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
        return dtypes.get(self.form, self.dtype)


def open_checkpoint(path: Path) -> Checkpoint:
    """Read what a .safetensors, .ckpt, .pt, .pth or .bin file holds; raises `WeightsError`."""
    if path.suffix == SAFETENSORS:
        return Checkpoint(path, read_header(path))
    if path.suffix in pickled_file.SUFFIXES:
        return Checkpoint(path, pickled_file.describe(path))
    known = ", ".join((SAFETENSORS, *pickled_file.SUFFIXES))
    raise WeightsError(f"{path.name} is no checkpoint that Partwise reads. Give one of {known}.")


def load_weights(
    module: "nn.Module",
    checkpoint: Checkpoint,
    *,
    precision: str = "fp32",
    policy: PrecisionPolicy = NO_POLICY,
    key_prefixes: Sequence[str] = ("dit.",),
    ignored_keys: Collection[str] = frozenset(),
    empty: "Empty" = new_tensor,
    is_mapped: bool = False,
    cancel: CancelToken | None = None,
    progress: ProgressCallback = ignore_progress,
) -> LoadedWeights:
    """Give a module that was built on `meta` its weights, on the CPU, ready to run.

    One of `key_prefixes` is removed from the file's keys where it leads. `ignored_keys` may be in
    the file though the module lacks them. Floating tensors are held in `precision` (of
    `plan.PRECISIONS`) as far as `policy` lets them be; in int8 and int4 some layers become those of
    `quantize`. `empty` makes their memory: (shape, dtype) → contiguous tensor on the CPU. Buffers
    that a checkpoint never holds must be made before.

    is_mapped (see `LoadOrder`): floating tensors become views of the file, in the file's type if
    that is another one; who places them casts them (`mapped.take_notes`). Those that are quantised,
    no floats or ill aligned are read, and so are all of a file that is not safetensors.

    Raises `WeightsError` with the keys that do not match, `ConfigError` when a library is missing,
    `Cancelled` between tensors; then the module is as it was.
    """
    started = time.monotonic()
    cancel = cancel or CancelToken()
    _require_buffers(module)
    pairs = _matched(module, checkpoint, key_prefixes, ignored_keys)
    pairs = [_with_form(pair, precision, policy) for pair in pairs]
    found = _map_all(checkpoint, pairs) if is_mapped else {}
    left = [pair for pair in pairs if pair.key not in found]
    tensors = found | _read_all(checkpoint, left, empty, cancel, progress)
    _put_quantized(module, pairs)
    module.load_state_dict(tensors, strict=True, assign=True)
    for pair in pairs:
        if pair.key in found:
            note_type(module, pair.key, pair.wanted)
    if missing := _names_on_meta(module):
        raise ValueError(f"on meta after loading: {_some(missing)}")
    module.requires_grad_(False).eval()
    size = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    return LoadedWeights(len(tensors), size, time.monotonic() - started)


def _map_all(checkpoint: Checkpoint, pairs: list[_Pair]) -> "dict[str, torch.Tensor]":
    """Views of the file for those that can be, by key."""
    if (file := checkpoint.mapped()) is None:
        return {}
    found = {}
    for pair in pairs:
        dtype = tensor_stream.torch_dtypes()[pair.stored.dtype]
        if dtype.is_floating_point and not pair.is_quantized:
            view = file.view(pair.stored, dtype)
            if view is not None:
                found[pair.key] = view
    return found


def _read_all(
    checkpoint: Checkpoint,
    pairs: list[_Pair],
    empty: "Empty",
    cancel: CancelToken,
    progress: ProgressCallback,
) -> "dict[str, torch.Tensor]":
    total = sum(pair.stored.byte_count for pair in pairs)
    done = 0
    tensors: dict[str, torch.Tensor] = {}
    with checkpoint.reader() as reader:
        for pair in sorted(pairs, key=lambda pair: pair.stored.offset):
            cancel.raise_if_cancelled()
            tensors.update(_read(reader, pair, empty))
            done += pair.stored.byte_count
            detail = f"{done / 1e6:.0f} of {total / 1e6:.0f} MB"
            progress(Progress("Loading weights", done / max(1, total), detail))
    return tensors


def _read(reader: tensor_stream.Reader, pair: _Pair, empty: "Empty") -> "dict[str, torch.Tensor]":
    """The tensor, or the two of a quantised one, by key."""
    if not pair.is_quantized:
        tensor = empty(pair.shape, pair.wanted)
        reader.read_into(tensor, pair.file_key, pair.stored)
        return {pair.key: tensor}
    from partwise.vram.quantize import QuantizedWeight, quantize

    plan = QuantizedWeight(pair.shape, pair.form).state_dict()
    made = {name: empty(tuple(tensor.shape), tensor.dtype) for name, tensor in plan.items()}
    read = functools.partial(_read_piece, reader, pair)
    quantize(read, pair.shape, pair.form, made["codes"], made["scales"])
    return {f"{pair.key}.{name}": tensor for name, tensor in made.items()}


def _read_piece(
    reader: tensor_stream.Reader, pair: _Pair, piece: "torch.Tensor", start: int
) -> None:
    reader.read_into(piece, pair.file_key, pair.stored, start)


def _put_quantized(module: "nn.Module", pairs: list[_Pair]) -> None:
    quantized = [pair for pair in pairs if pair.is_quantized]
    if quantized:
        from partwise.vram.quantize import put_quantized

        for pair in quantized:
            put_quantized(module, pair.key, pair.form)


def _matched(
    module: "nn.Module",
    checkpoint: Checkpoint,
    key_prefixes: Sequence[str],
    ignored_keys: Collection[str],
) -> list[_Pair]:
    """The module's tensors and the file's for each; raises `WeightsError` where they differ."""
    wanted = module.state_dict(keep_vars=True)
    file_keys = _plain_keys(checkpoint, key_prefixes)
    missing = [short(key) for key in wanted if key not in file_keys]
    unexpected = [short(key) for key in file_keys if key not in wanted and key not in ignored_keys]
    pairs, misshapen = [], []
    for key in (key for key in wanted if key in file_keys):
        stored, tensor = checkpoint[file_keys[key]], wanted[key]
        if reason := _difference(stored, tensor):
            misshapen.append(f"{short(key)} ({reason})")
        pairs.append(
            _Pair(key, file_keys[key], stored, tuple(tensor.shape), tensor.dtype, AS_IT_IS)
        )
    faults = [
        f"{len(names)} {what}: {_some(names)}"
        for names, what in (
            (missing, "missing"),
            (unexpected, "unexpected"),
            (misshapen, "of another shape or kind"),
        )
        if names
    ]
    if faults:
        raise WeightsError(
            f"{checkpoint.path.name} does not match the model. Of its {len(checkpoint)} tensors "
            f"for {len(wanted)}, {'; '.join(faults)}. Use the file published for this model."
        )
    return pairs


def _plain_keys(checkpoint: Checkpoint, key_prefixes: Sequence[str]) -> dict[str, str]:
    """The module's key for each key of the file."""
    plain: dict[str, str] = {}
    for file_key in checkpoint:
        key = plain_key(file_key, key_prefixes)
        if key in plain:
            raise WeightsError(
                f"{checkpoint.path.name} holds {short(plain[key])} and {short(file_key)}, two "
                "tensors for one place of the model. Use the file published for this model."
            )
        plain[key] = file_key
    return plain


def _difference(stored: StoredTensor, tensor: "torch.Tensor") -> str:
    if stored.shape != tuple(tensor.shape):
        return f"{list(stored.shape)} in the file, {list(tensor.shape)} in the model"
    if tensor_stream.torch_dtypes()[stored.dtype].is_floating_point != tensor.is_floating_point():
        kind = str(tensor.dtype).removeprefix("torch.")
        return f"{stored.dtype} in the file, {kind} in the model"
    return ""


def _with_form(pair: _Pair, precision: str, policy: PrecisionPolicy) -> _Pair:
    is_float = pair.dtype.is_floating_point
    form = policy.form(pair.key, pair.shape, is_float=is_float, precision=precision)
    return replace(pair, form=form)


def _require_buffers(module: "nn.Module") -> None:
    persistent = module.state_dict(keep_vars=True)
    left = [name for name in _names_on_meta(module) if name not in persistent]
    if left:
        raise ValueError(f"not in a checkpoint, so to be made before loading: {_some(left)}")


def _names_on_meta(module: "nn.Module") -> list[str]:
    named = (*module.named_parameters(), *module.named_buffers())
    return [name for name, tensor in named if tensor.is_meta]


def _some(names: list[str]) -> str:
    """The first few names, and how many more."""
    shown = ", ".join(names[:_NAMED_KEYS])
    more = len(names) - _NAMED_KEYS
    return f"{shown} and {more} more" if more > 0 else shown
