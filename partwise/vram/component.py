"""A model that the manager may load, where it is, and the right to use it."""

import weakref
from collections.abc import Callable
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
    """

    precision: str = "fp32"
    empty: "Callable[[tuple[int, ...], torch.dtype], torch.Tensor]" = new_tensor
    cancel: CancelToken = field(default_factory=CancelToken)
    progress: ProgressCallback = ignore_progress


@dataclass(frozen=True)
class ComponentSpec:
    """A model the manager may load.

    `build` makes the module with its weights, on the CPU, ready to run. `why_unavailable` is asked
    before each load and answers with a sentence for the person, or None when it can be loaded. Of
    the components of one `group` at most one is on the device; None shares with everybody.
    `count_bytes` tells the bytes of its weights in a precision without loading anything, None when
    that is not known.
    """

    name: str
    title: str
    build: "Callable[[LoadOrder], nn.Module]"
    why_unavailable: Callable[[], str | None] = _always
    group: str | None = ONE_AT_A_TIME
    count_bytes: Callable[[str], int | None] = lambda precision: None


@dataclass(frozen=True)
class Placement:
    """How somebody wants a component. precision: of its weights, None = as it is, else as chosen.

    is_on_host: computing on the CPU although there is a GPU.
    """

    precision: str | None = None
    is_on_host: bool = False


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
        is_same_place = self.loaded.is_on_host == placement.is_on_host
        return is_same_place and placement.precision in (None, self.loaded.precision)

    def claim(self, owner: Lease, state: ComponentState) -> None:
        """Let `owner` load or unload it."""
        self._claim, self._claimed_state = weakref.ref(owner), state

    def fill(self, loaded: "Loaded") -> None:
        """Take the loaded component and end the claim."""
        self.loaded, self._claim = loaded, None

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
        )


def with_reason(spec: ComponentSpec, status: ComponentStatus) -> ComponentStatus:
    """The status with why it cannot be loaded; may ask the disk, so not for under a lock."""
    if status.state is not ComponentState.NOT_LOADED or not (reason := spec.why_unavailable()):
        return status
    return ComponentStatus(
        spec.name, spec.title, ComponentState.UNAVAILABLE, why_unavailable=reason
    )
