"""Follow every piece of memory that torch makes for tensors, on any device, from birth to death.

Needs torch at its top, so it is only ever imported late. What an operator takes for itself and
gives back before it returns (workspaces of cuBLAS, oneDNN, sorting) is not seen.
"""

import threading
import weakref
from collections import deque
from collections.abc import Iterator
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

CUDA_ROUNDING = 512  # torch's CUDA allocator hands out multiples of this
_COMPOSITE = torch._C.DispatchKey.CompositeImplicitAutograd
_LIFTS = (torch.ops.aten.lift_fresh.default, torch.ops.aten.lift.default)


class Sink(Protocol):
    """Who is told of memory; called by one meter never from two threads at once, never nested."""

    def allocate(self, byte_count: int) -> int:
        """Charge for new memory and return a handle; may raise `torch.OutOfMemoryError`."""
        ...

    def free(self, handle: int) -> None:
        """Take back a charge; must not raise, since nobody could catch it."""
        ...


class PeakSink:
    """Counts bytes: now, at the peak, of the largest single piece; as a whole and for each mark.

    rounding: each piece counts as a multiple of so many bytes.
    """

    def __init__(self, rounding: int = CUDA_ROUNDING) -> None:
        self.current_bytes = self.peak_bytes = self.largest_bytes = 0
        self.peaks: dict[str, int] = {}
        self.largest: dict[str, int] = {}
        self._rounding = rounding
        self._sizes: dict[int, int] = {}
        self._next = 0
        self._mark = ""

    def mark(self, name: str) -> None:
        """From here on peaks count for `name` too, beginning with what is held now."""
        self._mark = name
        self._note(0)

    def allocate(self, byte_count: int) -> int:
        """Count a new piece."""
        size = -(-byte_count // self._rounding) * self._rounding
        self._next += 1
        self._sizes[self._next] = size
        self.current_bytes += size
        self._note(size)
        return self._next

    def free(self, handle: int) -> None:
        """Forget a piece."""
        self.current_bytes -= self._sizes.pop(handle)

    def _note(self, size: int) -> None:
        self.peak_bytes = max(self.peak_bytes, self.current_bytes)
        self.largest_bytes = max(self.largest_bytes, size)
        if self._mark:
            before = self.peaks.get(self._mark, 0)
            self.peaks[self._mark] = max(before, self.current_bytes)
            self.largest[self._mark] = max(self.largest.get(self._mark, 0), size)


class _Charge(weakref.ref[torch.UntypedStorage]):
    """A storage that is charged for; the key is its address, which no other has while it lives."""

    __slots__ = ("handle", "key", "size")
    key: int
    handle: int
    size: int


class AllocationMeter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Charges a sink for each storage that operators make within the block of this thread.

    A storage is charged when an operator first returns it and freed when it dies, also after the
    block. Views and in-place operators cost nothing; a storage that was resized is charged anew.
    Memory from before the block or from outside torch (numpy) is not charged. When the sink raises,
    the operator's result is dropped, nothing of it stays charged, and the error is the caller's.
    """

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # else torch would load its compiler, a second or two, and ask it at each step

    def __init__(self, sink: Sink) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._sink = sink
        self._charges: dict[int, _Charge] = {}
        self._dead: deque[int] = deque()
        self._turn = threading.Lock()
        self._is_composite: dict[Any, bool] = {}

    def __torch_dispatch__(
        self, func: Any, types: object, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Run an operator; in inference mode one that is made of others, step by step."""
        kwargs = kwargs or {}
        if self._is_made_of_others(func):
            with self:
                return func.decompose(*args, **kwargs)
        result = func(*args, **kwargs)
        failure = self._note(result, func, args, kwargs)
        if failure is None:
            return result
        del result, args, kwargs  # the error keeps this frame, and must not keep their memory
        try:
            raise failure
        finally:
            del failure

    def _is_made_of_others(self, func: Any) -> bool:
        known = self._is_composite.get(func)
        if known is None:
            known = func.namespace != "prim" and torch._C._dispatch_has_kernel_for_dispatch_key(
                func.name(), _COMPOSITE
            )
            self._is_composite[func] = known
        return known

    def _note(
        self, result: Any, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> BaseException | None:
        """Charge for the storages of a result that are new or have grown; why that failed."""
        if is_from_outside(func, args):
            return None
        given: set[int] | None = None
        charged: list[_Charge] = []
        try:
            for tensor in tensors_in(result):
                storage = tensor.untyped_storage()
                key = storage._cdata
                charge = self._charges.get(key)
                if charge is not None:
                    self._follow(charge, storage.nbytes())
                    continue
                if given is None:
                    given = set() if is_fresh(func, args) else _storages((args, *kwargs.values()))
                if key not in given:
                    charged.append(self._charge(storage, key))
        except BaseException as error:
            for charge in charged:
                self._forget(charge)
            return error.with_traceback(None)  # the frames on the way hold what is to be freed
        return None

    def _charge(self, storage: torch.UntypedStorage, key: int) -> _Charge:
        size = storage.nbytes()
        handle = self._allocate(size)
        charge = _Charge(storage, self._forget)
        charge.key, charge.handle, charge.size = key, handle, size
        self._charges[key] = charge
        return charge

    def _follow(self, charge: _Charge, size: int) -> None:
        if size != charge.size:
            old, charge.handle = charge.handle, self._allocate(size)
            charge.size = size
            self._free(old)

    def _forget(self, charge: "weakref.ref[torch.UntypedStorage]") -> None:
        """Free a charge once: as its storage dies, or because its operator is undone."""
        assert isinstance(charge, _Charge)
        if self._charges.get(charge.key) is charge:
            del self._charges[charge.key]
            self._free(charge.handle)

    def _allocate(self, size: int) -> int:
        with self._turn:
            self._tell_of_the_dead()
            handle = self._sink.allocate(size)
        self._settle()
        return handle

    def _free(self, handle: int) -> None:
        """Tell the sink at once, or let whoever is with the sink do so as it leaves.

        A collection of garbage may come here while this very thread is in the sink.
        """
        self._dead.append(handle)
        self._settle()

    def _settle(self) -> None:
        while self._dead and self._turn.acquire(blocking=False):
            try:
                self._tell_of_the_dead()
            finally:
                self._turn.release()

    def _tell_of_the_dead(self) -> None:
        while self._dead:
            self._sink.free(self._dead.popleft())


def is_fresh(func: Any, args: tuple[Any, ...]) -> bool:
    """Whether an operator brings in memory that torch has just made, as `torch.tensor` does."""
    return func in _LIFTS and bool(args[0].untyped_storage().resizable())


def is_from_outside(func: Any, args: tuple[Any, ...]) -> bool:
    """Whether an operator brings in memory that is not torch's, as `torch.from_numpy` does."""
    return func in _LIFTS and not is_fresh(func, args)


def tensors_in(value: Any) -> Iterator[Tensor]:
    """The tensors in a value and in its lists and tuples."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from tensors_in(item)


def _storages(values: Any) -> set[int]:
    return {tensor.untyped_storage()._cdata for tensor in tensors_in(values)}
