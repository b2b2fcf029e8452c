"""Run real code without computing a floating number, to see what memory it would take.

Floating tensors are fake: a shape, a type and a lifetime. Integer and boolean tensors are real, on
the CPU, so that what depends on their values (unique, sort, indexing) has its right shape. Needs
torch at its top, so it is only ever imported late. Not seen: workspaces of cuBLAS, cuDNN, oneDNN
and of sorting, and how an allocator cuts its blocks.
"""

import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

from partwise.vram.meter import AllocationMeter, PeakSink, Sink, is_from_outside, tensors_in

_META = torch.device("meta")
_FACTORIES = ("aten::empty", "aten::zeros", "aten::ones", "aten::rand", "aten::randn")
_NUMPY_TYPES = {
    torch.bool: np.bool_,
    torch.int32: np.int32,
    torch.int64: np.int64,
    torch.float16: np.float16,
    torch.float32: np.float32,
    torch.float64: np.float64,
}


class FakeTensor(Tensor):
    """A tensor on the CPU for all who ask; its memory is that of a tensor on `meta`."""

    on_meta: Tensor

    @staticmethod
    def __new__(cls, inner: Tensor) -> "FakeTensor":
        """Wrap a tensor on `meta`."""
        with torch.inference_mode(False):  # else views of weights, made outside, are refused
            fake: FakeTensor = Tensor._make_wrapper_subclass(
                cls,
                inner.shape,
                strides=inner.stride(),
                storage_offset=inner.storage_offset(),
                dtype=inner.dtype,
                device=torch.device("cpu"),
            )
        fake.on_meta = inner
        return fake

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: object, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Only a trace knows what to do."""
        raise RuntimeError(f"{func} met a tensor of a trace outside of the trace")


class Trace:
    """A world in which floating tensors are fake.

    is_gpu: imitate a device with memory of its own, so that what comes from numpy is copied to it
    and what goes back is copied to the host, which is not counted. Fused attention, which holds no
    scores, is taken for granted on both.
    """

    def __init__(self, *, is_gpu: bool) -> None:
        self.is_gpu = is_gpu
        self._host: weakref.WeakSet[torch.UntypedStorage] = weakref.WeakSet()

    def stand_in(self, module: nn.Module) -> None:
        """Give a module, on `meta` or not, fake weights in the place of its own."""
        for part in module.modules():
            for tensors in (part._parameters, part._buffers):
                for name, tensor in tensors.items():
                    if tensor is not None and tensor.is_floating_point():
                        tensors[name] = _fake(tensor)  # type: ignore[assignment]

    @contextmanager
    def counting(self, sink: Sink) -> Iterator[None]:
        """Within the block of this thread all is fake, and `sink` hears of the memory it takes."""
        with AllocationMeter(sink), _FakeFloats(self), _Boundary(self):
            yield

    def from_host(self, tensor: Tensor) -> Tensor:
        """What a tensor over numpy's memory is here."""
        if tensor.dtype.is_floating_point:
            tensor = _fake(tensor)
        self._host.add(_storage(tensor))
        return tensor

    def to_host(self, tensor: Tensor) -> Tensor:
        """A copy on the host, when the device's memory is another."""
        if not self.is_gpu or self.is_on_host((tensor,)):
            return tensor
        if isinstance(tensor, FakeTensor):
            copy: Tensor = _fake(tensor)
        else:
            with torch._C._DisableTorchDispatch():
                copy = tensor.clone()
        self._host.add(_storage(copy))
        return copy

    def on_host(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run a function of host tensors alone; nobody is charged for what it makes."""
        with _disable_current_modes(), _FakeFloats(self):
            result = func(*args, **kwargs)
        for tensor in tensors_in(result):
            self._host.add(_storage(tensor))
        return result

    def is_on_host(self, values: Any) -> bool:
        """Whether all tensors among some values, one at least, are on the host."""
        if not self.is_gpu or not self._host:
            return False
        tensors = list(tensors_in(values))
        return bool(tensors) and all(_storage(tensor) in self._host for tensor in tensors)

    def is_upload(self, tensor: Tensor, args: Sequence[Any], kwargs: dict[str, Any]) -> bool:
        """Whether `Tensor.to` with these arguments copies a host tensor to the device."""
        targets = (*args, *kwargs.values())
        names_device = any(isinstance(target, (torch.device, str)) for target in targets)
        return names_device and self.is_on_host((tensor,))


def trace_peak(
    trace: Trace, work: Callable[[Callable[[str], None]], object], *, rounding: int = 512
) -> PeakSink:
    """What memory `work` takes; it is given a function that marks where a stage begins."""
    sink = PeakSink(rounding)
    with trace.counting(sink):
        work(sink.mark)
    return sink


class _FakeFloats(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Runs operators with a floating tensor on `meta`, all others on the CPU."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # as in the meter

    def __init__(self, trace: Trace) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._trace = trace

    def __torch_dispatch__(
        self, func: Any, types: object, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Run an operator where it belongs."""
        kwargs = kwargs or {}
        if is_from_outside(func, args):
            return self._trace.from_host(args[0])
        if not _has_floats((*args, *kwargs.values())) and not _makes_floats(func, args, kwargs):
            return func(*args, **kwargs)
        if func is torch.ops.aten.index.Tensor:
            args = (args[0], _as_places(args[1]))
        wrapped = {id(fake.on_meta): fake for fake in _fakes((args, *kwargs.values()))}
        if "device" in kwargs:
            kwargs = {**kwargs, "device": _META}
        given = {name: _on_meta(value) for name, value in kwargs.items()}
        return _wrap(func(*_on_meta(args), **given), wrapped)


class _Boundary(TorchFunctionMode):
    """Stands where tensors meet numpy, the host and attention's kernels."""

    def __init__(self, trace: Trace) -> None:
        super().__init__()
        self._trace = trace

    def __torch_function__(
        self, func: Any, types: object, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Answer for the functions that are different on a device, or that fake tensors lack."""
        kwargs, trace = kwargs or {}, self._trace
        if func is functional.scaled_dot_product_attention:
            return _attend(*args[:3])
        if func is Tensor.to and trace.is_upload(args[0], args[1:], kwargs):
            return func(*args, **{**kwargs, "copy": True})
        if func is Tensor.cpu:
            return trace.to_host(args[0])
        if func is Tensor.numpy and isinstance(args[0], FakeTensor):
            return _to_numpy(args[0])
        if trace.is_gpu and trace.is_on_host((args, *kwargs.values())):
            return trace.on_host(func, args, kwargs)
        return func(*args, **kwargs)


def _attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Memory of a fused kernel: the output, rows before heads, and for a moment a sum a row."""
    batch, heads, rows, _ = query.shape
    out = query.new_empty(batch, rows, heads, value.shape[-1]).transpose(1, 2)
    query.new_empty(batch, heads, rows, dtype=torch.float32)
    return out


class _Kept(np.ndarray[Any, Any]):
    """An array whose memory belongs to a tensor."""

    tensor: Tensor


def _to_numpy(tensor: FakeTensor) -> _Kept:
    """An array of that shape; it keeps the tensor's memory, as the real one would."""
    array = np.zeros(tuple(tensor.shape), dtype=_NUMPY_TYPES[tensor.dtype]).view(_Kept)
    array.tensor = tensor
    return array


def _fake(like: Tensor) -> FakeTensor:
    """A fake tensor of the same shape and type that nobody is charged for."""
    return FakeTensor(_stand_in(like))


def _stand_in(tensor: Tensor) -> Tensor:
    with torch._C._DisableTorchDispatch():
        return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device=_META)


def _on_meta(value: Any) -> Any:
    """The same with all tensors on `meta`, and where they are to go."""
    if isinstance(value, FakeTensor):
        return value.on_meta
    if isinstance(value, torch.device):
        return _META
    if isinstance(value, Tensor):
        return _stand_in(value)
    if isinstance(value, (list, tuple)):
        return type(value)(_on_meta(item) for item in value)
    return value


def _wrap(value: Any, wrapped: dict[int, FakeTensor]) -> Any:
    """The result with fake tensors for those on `meta`: the given ones where they come back."""
    if isinstance(value, Tensor):
        if not value.is_meta:
            return value
        known = wrapped.get(id(value))
        return FakeTensor(value) if known is None else known
    if isinstance(value, (list, tuple)):
        return type(value)(_wrap(item, wrapped) for item in value)
    return value


def _storage(tensor: Tensor) -> torch.UntypedStorage:
    return (tensor.on_meta if isinstance(tensor, FakeTensor) else tensor).untyped_storage()


def _fakes(values: Any) -> Iterator[FakeTensor]:
    return (tensor for tensor in tensors_in(values) if isinstance(tensor, FakeTensor))


def _has_floats(values: Any) -> bool:
    return any(
        isinstance(tensor, FakeTensor) or tensor.dtype.is_floating_point
        for tensor in tensors_in(values)
    )


def _makes_floats(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether an operator on whole numbers, or on no tensor at all, has a floating result."""
    dtypes = [value for value in (*args, *kwargs.values()) if isinstance(value, torch.dtype)]
    if dtypes:
        return dtypes[0].is_floating_point
    if func.name().startswith("aten::full"):
        return isinstance(args[1], float) and not isinstance(args[0], Tensor)
    return func.name().split(".")[0] in _FACTORIES


def _as_places(indices: Sequence[Tensor | None]) -> list[Tensor | None]:
    """Masks that are real become the places where they are true: `meta` cannot count them."""
    places: list[Tensor | None] = []
    for index in indices:
        if index is None or index.dtype != torch.bool or isinstance(index, FakeTensor):
            places.append(index)
        else:
            places.extend(index.nonzero().unbind(1))
    return places
