"""Where modules live and compute. The manager decides who comes and goes; a runner carries it out.

`LocalRunner` does so in this process, `worker_runner.WorkerRunner` in one that can end.
"""

import importlib
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from partwise.core.errors import MemoryBudgetError
from partwise.core.progress import CancelToken, ProgressCallback, ignore_progress
from partwise.vram.component import ComponentSpec
from partwise.vram.device import DeviceDoor
from partwise.vram.readings import DeviceKind
from partwise.vram.slots import PlainSlots

if TYPE_CHECKING:
    from torch import Tensor, nn

    from partwise.vram.weights import HostMaster, HostMasters


@dataclass(frozen=True)
class Loaded:
    """A component that is ready to compute. `module` is None when it lives in another process.

    weight_bytes: of weights that are held where it computes, all of them or, streamed, those that
    stay and the slots; of a mapped file nothing is counted. host_bytes: what the host keeps beside
    it. is_on_host: it was asked to compute on the CPU, with its weights in host memory alone.
    streaming: the kind that its weights are streamed by; ignored_streaming: one that was asked for
    and that it does not know.
    """

    module: "nn.Module | None"
    weight_bytes: int
    precision: str
    host_bytes: int = 0
    is_pinned: bool = False
    is_on_host: bool = False
    streaming: str = ""
    ignored_streaming: str = ""


class Runner(Protocol):
    """What the manager needs of the place where modules live; components by their names."""

    def load(
        self,
        spec: ComponentSpec,
        *,
        precision: str,
        is_on_host: bool,
        streaming: str = "",
        cancel: CancelToken,
        progress: ProgressCallback = ignore_progress,
    ) -> Loaded:
        """Get a component ready; raises what building and placing it raise, and is then as before.

        is_on_host: compute on the CPU although there is a GPU. streaming: see `Placement`.
        """

    def call(
        self,
        name: str,
        target: str,
        *args: Any,
        progress: ProgressCallback = ignore_progress,
        cancel: CancelToken | None = None,
        **kwargs: Any,
    ) -> Any:
        """`target` ("package.module:function") called with the module, then the arguments."""

    def park(self, name: str) -> None:
        """Off the device; the host keeps the weights if it has them beside."""

    def drop(self, name: str) -> None:
        """Off the device and off the host."""

    def prefetch(self, spec: ComponentSpec, precision: str, cancel: CancelToken) -> None:
        """Read the weights to the host, so that a later load is quick; raises what that raises."""

    def kept_bytes(self, name: str) -> int:
        """What the host keeps of a component that is not loaded."""

    def rest(self) -> bool:
        """End the process that modules lived in, if there is one; whether one was ended."""

    def give_back(self) -> None:
        """Give memory back that only caches hold."""

    def close(self) -> None:
        """Let go of everything."""


class LocalRunner:
    """Modules of this process, on its device or on the CPU; safe between threads."""

    def __init__(
        self,
        device: DeviceDoor,
        host_free_bytes: Callable[[], int],
        host_cache_bytes: int | None = None,
    ) -> None:
        self._device = device
        self._host_free_bytes = host_free_bytes
        self._host_cache_bytes = host_cache_bytes
        self._made: HostMasters | None = None
        self._on_host: set[str] = set()
        self._modules: dict[str, nn.Module] = {}
        self._lock = threading.Lock()

    def load(
        self,
        spec: ComponentSpec,
        *,
        precision: str,
        is_on_host: bool,
        streaming: str = "",
        cancel: CancelToken,
        progress: ProgressCallback = ignore_progress,
    ) -> Loaded:
        """See `Runner.load`; streamed weights are mapped where the host has no room, and always
        where the host computes."""
        kind = spec.known_streaming(streaming)
        is_only_there = is_on_host or self._device.kind is DeviceKind.CPU
        master = self._masters.obtain(
            spec,
            precision,
            is_mapped=bool(kind) if is_only_there else None if kind else False,
            cancel=cancel,
            progress=progress,
        )
        try:
            units = tuple(spec.stream_units(master.module, kind)) if kind else ()
            self._place(master, units, is_only_there=is_only_there)
            with self._lock:
                self._modules[spec.name] = master.module
                (self._on_host.add if is_only_there else self._on_host.discard)(spec.name)
        except BaseException:
            self._withdraw(spec.name)
            raise
        is_copied = is_only_there and (units or master.is_mapped)  # what had to be cast
        return Loaded(
            master.module,
            master.placed_bytes + (master.host_bytes if is_copied else 0),
            master.precision,
            0 if is_only_there else master.host_bytes,
            master.is_pinned,
            is_on_host,
            kind if units else "",
            "" if units else kind,
        )

    def _place(self, master: "HostMaster", units: Sequence[str], *, is_only_there: bool) -> None:
        if units or master.is_mapped:
            master.stream(units, PlainSlots("cpu") if is_only_there else self._device.slots())
        else:
            master.place(_as_it_is if is_only_there else self._device.upload)
        self._device.settle()  # a copy may fail as late as here

    def call(
        self,
        name: str,
        target: str,
        *args: Any,
        progress: ProgressCallback = ignore_progress,
        cancel: CancelToken | None = None,
        **kwargs: Any,
    ) -> Any:
        """See `Runner.call`; on the device the budget holds and, if simulated, its capacity."""
        with self._lock:
            module, is_on_host = self._modules[name], name in self._on_host
        function = find_function(target)
        if is_on_host and self._device.kind is not DeviceKind.CPU:
            return function(module, *args, progress=progress, cancel=cancel, **kwargs)
        with self._device.computing():
            return function(module, *args, progress=progress, cancel=cancel, **kwargs)

    def park(self, name: str) -> None:
        """See `Runner.park`; weights that computed on the CPU are not kept a second time."""
        with self._lock:
            is_on_host = name in self._on_host
        if is_on_host:
            self.drop(name)
            return
        self._withdraw(name)
        self._device.give_back()

    def drop(self, name: str) -> None:
        """See `Runner.drop`."""
        self._withdraw(name)
        if self._made is not None:
            self._made.release(name)
        self._device.give_back()

    def prefetch(self, spec: ComponentSpec, precision: str, cancel: CancelToken) -> None:
        """See `Runner.prefetch`; never more than the host is to keep, since it is no more than
        a head start, and streamed weights may do without."""
        if not self._masters.has_room(spec, precision):
            raise MemoryBudgetError(f"The host has no room to read {spec.title} ahead.")
        self._masters.obtain(spec, precision, cancel=cancel, progress=ignore_progress)

    def kept_bytes(self, name: str) -> int:
        """See `Runner.kept_bytes`."""
        master = self._made.find(name) if self._made is not None else None
        return master.host_bytes if master is not None else 0

    def rest(self) -> bool:
        """See `Runner.rest`: this process goes on."""
        return False

    def give_back(self) -> None:
        """See `Runner.give_back`."""
        self._device.give_back()

    def close(self) -> None:
        """See `Runner.close`."""
        with self._lock:
            names = list(self._modules)
        for name in names:
            self.drop(name)
        if self._made is not None:
            self._made.release_all()

    @property
    def _masters(self) -> "HostMasters":
        from partwise.vram.weights import HostMasters

        with self._lock:  # asked late: whether memory can be pinned is torch's to say
            if self._made is None:
                self._made = HostMasters(
                    self._host_free_bytes,
                    limit_bytes=self._host_cache_bytes,
                    can_pin=self._device.can_pin,
                )
            return self._made

    def _withdraw(self, name: str) -> None:
        with self._lock:
            self._modules.pop(name, None)
            self._on_host.discard(name)
        master = self._made.find(name) if self._made is not None else None
        if master is not None:
            master.withdraw()


def find_function(target: str) -> Callable[..., Any]:
    """The function that "package.module:function" names."""
    module_name, _, function_name = target.partition(":")
    function: Callable[..., Any] = getattr(importlib.import_module(module_name), function_name)
    return function


def _as_it_is(slab: "Tensor") -> "Tensor":
    return slab
