"""A model that the manager may load, where it is, and the right to use it."""

import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from partwise.core.progress import CancelToken, ProgressCallback, ignore_progress
from partwise.vram.readings import ComponentState, ComponentStatus

if TYPE_CHECKING:
    import torch
    from torch import nn

    from partwise.vram.runner import Loaded

ONE_AT_A_TIME = "one at a time"


def _always() -> None:
    return None


def new_tensor(shape: tuple[int, ...], dtype: "torch.dtype") -> "torch.Tensor":
    """Ordinary host memory for a weight."""
    import torch

    return torch.empty(shape, dtype=dtype)


@dataclass(frozen=True)
class LoadOrder:
    """How a component is to be built. precision: of its weights, one of `plan.PRECISIONS`.

    empty: where a weight's host memory comes from, (shape, dtype) → contiguous tensor on the CPU.
    is_mapped: weights may be views of the file, for `checkpoint.load_weights` to know; then they
    may still be of the file's type, and are not to be computed with nor changed by who builds.
    """

    precision: str = "fp32"
    is_mapped: bool = False
    empty: "Callable[[tuple[int, ...], torch.dtype], torch.Tensor]" = new_tensor
    cancel: CancelToken = field(default_factory=CancelToken)
    progress: ProgressCallback = ignore_progress


def no_units(module: "nn.Module", kind: str) -> Sequence[str]:
    """Of a component whose weights are not streamed."""
    return ()


@dataclass(frozen=True)
class ComponentSpec:
    """A component the manager may load: a model or a part of one.

    `build` makes the module with its weights, on the CPU, ready to run. `why_unavailable` is asked
    before each load and answers with a sentence for the person, or None when it can be loaded. Of
    the models of one `group` at most one is on the device, with any of its components; a group of
    None shares with everybody. model: the same for all components of one; empty = its own name.
    `count_bytes` tells the bytes of its weights in a precision without loading anything, None when
    that is not known. `stream_units` names, for a kind of streaming, the submodules whose weights
    come and go, in the order in which they compute; none for a kind that it does not know, which is
    then ignored. A submodule within another one is a unit of its own.
    """

    name: str
    title: str
    build: "Callable[[LoadOrder], nn.Module]"
    why_unavailable: Callable[[], str | None] = _always
    group: str | None = ONE_AT_A_TIME
    count_bytes: Callable[[str], int | None] = lambda precision: None
    model: str = ""
    stream_units: "Callable[[nn.Module, str], Sequence[str]]" = no_units

    @property
    def place(self) -> str:
        """The model that it is of, whose components may be on the device together."""
        return self.model or self.name

    def known_streaming(self, kind: str) -> str:
        """The kind of streaming, or none where the component knows no kind at all."""
        return "" if self.stream_units is no_units else kind


@dataclass(frozen=True)
class Placement:
    """How somebody wants a component. precision: of its weights, None = as it is, else as chosen.

    is_on_host: computing on the CPU although there is a GPU. streaming: empty = all weights where
    it computes, else a kind of streaming; ignored by a component that does not know it.
    """

    precision: str | None = None
    is_on_host: bool = False
    streaming: str = ""


class Lease:
    """The right to a loaded component until the end of its `use` block."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._loaded: Loaded | None = None
        self._call: Callable[..., Any] | None = None

    @property
    def module(self) -> "nn.Module":
        """The module; RuntimeError once the block has ended, or if it lives in another process."""
        if self._loaded is None:
            raise self._is_over()
        if self._loaded.module is None:
            raise RuntimeError(f"“{self.name}” lives in a process of its own; reach it with call()")
        return self._loaded.module

    @property
    def is_elsewhere(self) -> bool:
        """Whether the module lives in another process, which gets copies of all arguments."""
        return self._loaded is not None and self._loaded.module is None

    @property
    def precision(self) -> str:
        """Of the weights."""
        if self._loaded is None:
            raise self._is_over()
        return self._loaded.precision

    @property
    def is_granted(self) -> bool:
        """Whether the component is there to be used."""
        return self._loaded is not None

    def call(
        self,
        target: str,
        *args: Any,
        progress: ProgressCallback = ignore_progress,
        cancel: CancelToken | None = None,
        **kwargs: Any,
    ) -> Any:
        """Call `target` ("package.module:function") with the module first, where the module lives.

        The function takes the keywords `progress` and `cancel` as well. Raises what it raises.
        """
        if self._call is None:
            raise self._is_over()
        return self._call(self.name, target, *args, progress=progress, cancel=cancel, **kwargs)

    def grant(self, loaded: "Loaded", call: Callable[..., Any]) -> None:
        """Let the holder use the component."""
        self._loaded, self._call = loaded, call

    def end(self) -> None:
        """Let go of the component, so that a lease somebody kept does not keep its memory."""
        self._loaded = self._call = None

    def _is_over(self) -> RuntimeError:
        return RuntimeError(f"the lease of “{self.name}” is over; take a new one with use()")


class Slot:
    """A component's place in the manager; changed under the manager's lock alone.

    It holds leases and claims weakly: those of a thread that was killed while giving them back are
    gone with the thread.
    """

    def __init__(self, spec: ComponentSpec, kept_bytes: Callable[[], int] = lambda: 0) -> None:
        """kept_bytes: what the host keeps of it while it is not loaded; may change at any time."""
        self.spec = spec
        self.loaded: Loaded | None = None
        self._kept_bytes = kept_bytes
        self.leases: weakref.WeakSet[Lease] = weakref.WeakSet()
        self.idle_since = 0.0
        self.parked_since = 0.0
        self._claim: weakref.ref[Lease] | None = None  # who loads or unloads it at this moment
        self._claimed_state = ComponentState.NOT_LOADED
        self._ignored: set[tuple[str, str]] = set()  # precision, kind of streaming without units

    @property
    def kept_bytes(self) -> int:
        """What the host keeps of it at this moment; counts only while it is not loaded."""
        return self._kept_bytes()

    @property
    def state(self) -> ComponentState:
        """Where the component is, or on its way to."""
        if self._claim is not None:
            return self._claimed_state
        if self.loaded is not None:
            return ComponentState.LOADED
        return ComponentState.PARKED if self.kept_bytes else ComponentState.NOT_LOADED

    @property
    def is_idle(self) -> bool:
        """Whether it is loaded and nobody uses it."""
        return self.state is ComponentState.LOADED and not self.leases

    @property
    def is_away(self) -> bool:
        """Whether it takes no place on the device and nobody is about to change that."""
        return self.loaded is None and self._claim is None

    @property
    def is_claimed(self) -> bool:
        """Whether somebody loads or unloads it."""
        return self._claim is not None

    def is_claimed_by(self, owner: Lease) -> bool:
        """Whether it is `owner` who loads or unloads it."""
        return self._claim is not None and self._claim() is owner

    def is_as(self, placement: Placement) -> bool:
        """Whether it is loaded in the way that somebody wants it."""
        if self.loaded is None:
            return False
        loaded, kind = self.loaded, self.spec.known_streaming(placement.streaming)
        if (loaded.precision, kind) in self._ignored:
            kind = ""
        is_same_place = loaded.is_on_host == placement.is_on_host and loaded.streaming == kind
        return is_same_place and placement.precision in (None, loaded.precision)

    def has_master_for(self, placement: Placement) -> bool:
        """Whether what the host keeps of it is what somebody wants, though placed otherwise."""
        if self.loaded is None or self.loaded.is_on_host or placement.is_on_host:
            return False
        return placement.precision in (None, self.loaded.precision)

    def claim(self, owner: Lease, state: ComponentState) -> None:
        """Let `owner` load or unload it."""
        self._claim, self._claimed_state = weakref.ref(owner), state

    def fill(self, loaded: "Loaded") -> None:
        """Take the loaded component and end the claim."""
        self.loaded, self._claim = loaded, None
        if loaded.ignored_streaming:
            self._ignored.add((loaded.precision, loaded.ignored_streaming))

    def clear(self, now: float = 0.0) -> None:
        """Let go of the component and of the claim; the host may keep its weights from now on."""
        self.loaded, self._claim = None, None
        self.parked_since = now

    @property
    def is_abandoned(self) -> bool:
        """Whether whoever loaded or unloaded it is gone, half-way."""
        return self._claim is not None and self._claim() is None

    def status(self, now: float) -> ComponentStatus:
        """What is known of it without asking the disk; `now` by the manager's clock."""
        loaded = self.loaded if self.state is ComponentState.LOADED else None
        is_idle = self.is_idle or self.state is ComponentState.PARKED
        return ComponentStatus(
            name=self.spec.name,
            title=self.spec.title,
            state=self.state,
            lease_count=len(self.leases),
            weight_bytes=loaded.weight_bytes if loaded else None,
            idle_s=now - self.idle_since if is_idle else None,
            precision=loaded.precision if loaded else None,
            host_bytes=(loaded.host_bytes if loaded else self.kept_bytes) or None,
            is_pinned=bool(loaded and loaded.is_pinned),
            streaming=loaded.streaming if loaded else "",
        )


def with_reason(spec: ComponentSpec, status: ComponentStatus) -> ComponentStatus:
    """The status with why it cannot be loaded; may ask the disk, so not for under a lock."""
    if status.state is not ComponentState.NOT_LOADED or not (reason := spec.why_unavailable()):
        return status
    return ComponentStatus(
        spec.name, spec.title, ComponentState.UNAVAILABLE, why_unavailable=reason
    )
