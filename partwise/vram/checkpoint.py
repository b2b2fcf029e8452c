"""A checkpoint file as a lazy mapping, and its tensors into a module: strict, streamed, cast once.

Knows nn.Module and bytes, nothing of our models. Nothing of a file is read until it is asked for,
and then one tensor at a time into its own memory, so that the host never holds the weights twice.
"""

import contextlib
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from partwise.core.errors import WeightsError
from partwise.core.progress import CancelToken, Progress, ProgressCallback, ignore_progress
from partwise.vram import pickled_file, tensor_stream
from partwise.vram.safetensors_file import StoredTensor, read_header, short

if TYPE_CHECKING:
    import torch
    from torch import nn

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
    """What a module got: how many tensors, their bytes in memory, how long it took."""

    tensor_count: int
    weight_bytes: int
    elapsed_s: float


@dataclass(frozen=True)
class _Pair:
    """A tensor of the module, the file's tensor for it, and the type it gets."""

    key: str
    file_key: str
    stored: StoredTensor
    shape: tuple[int, ...]
    dtype: "torch.dtype"


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
    key_prefixes: Sequence[str] = ("dit.",),
    ignored_keys: Collection[str] = frozenset(),
    dtype: "torch.dtype | None" = None,
    keep_fp32: Callable[[str], bool] = lambda _: False,
    cancel: CancelToken | None = None,
    progress: ProgressCallback = ignore_progress,
) -> LoadedWeights:
    """Give a module that was built on `meta` its weights, on the CPU, ready to run.

    One of `key_prefixes` is removed from the file's keys where it leads. `ignored_keys` may be in
    the file though the module lacks them. Floating tensors become `dtype` (None: the module's own),
    those of keys that `keep_fp32` names float32. Buffers that a checkpoint never holds must be made
    before. Raises `WeightsError` with the keys that do not match, `Cancelled` between tensors; then
    the module is as it was.
    """
    started = time.monotonic()
    cancel = cancel or CancelToken()
    _require_buffers(module)
    pairs = _matched(module, checkpoint, key_prefixes, ignored_keys)
    pairs = [_with_dtype(pair, dtype, keep_fp32) for pair in pairs]
    tensors = _read_all(checkpoint, pairs, cancel, progress)
    module.load_state_dict(tensors, strict=True, assign=True)
    if left := _names_on_meta(module):
        raise ValueError(f"on meta after loading: {_some(left)}")
    module.requires_grad_(False).eval()
    size = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    return LoadedWeights(len(tensors), size, time.monotonic() - started)


def _read_all(
    checkpoint: Checkpoint,
    pairs: list[_Pair],
    cancel: CancelToken,
    progress: ProgressCallback,
) -> "dict[str, torch.Tensor]":
    import torch

    total = sum(pair.stored.byte_count for pair in pairs)
    done = 0
    tensors: dict[str, torch.Tensor] = {}
    with checkpoint.reader() as reader:
        for pair in sorted(pairs, key=lambda pair: pair.stored.offset):
            cancel.raise_if_cancelled()
            tensor = torch.empty(pair.shape, dtype=pair.dtype)
            reader.read_into(tensor, pair.file_key, pair.stored)
            tensors[pair.key] = tensor
            done += pair.stored.byte_count
            detail = f"{done / 1e6:.0f} of {total / 1e6:.0f} MB"
            progress(Progress("Loading weights", done / max(1, total), detail))
    return tensors


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
        pairs.append(_Pair(key, file_keys[key], stored, tuple(tensor.shape), tensor.dtype))
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
        prefix = next((prefix for prefix in key_prefixes if file_key.startswith(prefix)), "")
        key = file_key.removeprefix(prefix)
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


def _with_dtype(
    pair: _Pair, dtype: "torch.dtype | None", keep_fp32: Callable[[str], bool]
) -> _Pair:
    import torch

    if dtype is None or not pair.dtype.is_floating_point:
        return pair
    chosen = torch.float32 if keep_fp32(pair.key) else dtype
    return _Pair(pair.key, pair.file_key, pair.stored, pair.shape, chosen)


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
