"""A model that the manager may load, where it is, and the right to use it."""

import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from partwise.core.progress import CancelToken, ProgressCallback, ignore_progress
from partwise.vram.readings import ComponentState, ComponentStatus

if TYPE_CHECKING:
    import torch
    from torch import nn

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


class Lease:
    """The right to a loaded module until the end of its `use` block."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._module: nn.Module | None = None

    @property
    def module(self) -> "nn.Module":
        """The module; raises RuntimeError once the block has ended."""
        if self._module is None:
            raise RuntimeError(f"the lease of “{self.name}” is over; take a new one with use()")
        return self._module

    @property
    def is_granted(self) -> bool:
        """Whether the module is there to be used."""
        return self._module is not None

    def grant(self, module: "nn.Module") -> None:
        """Let the holder use the module."""
        self._module = module

    def end(self) -> None:
        """Let go of the module, so that a lease somebody kept does not keep its memory."""
        self._module = None


class Slot:
    """A component's place in the manager; changed under the manager's lock alone.

    It holds leases and claims weakly: those of a thread that was killed while giving them back are
    gone with the thread.
    """

    def __init__(self, spec: ComponentSpec) -> None:
        self.spec = spec
        self.state = ComponentState.NOT_LOADED
        self.module: nn.Module | None = None
        self.leases: weakref.WeakSet[Lease] = weakref.WeakSet()
        self._claim: weakref.ref[Lease] | None = None  # who loads or unloads it at this moment
        self.weight_bytes = 0
        self.precision = ""
        self.idle_since = 0.0

    @property
    def is_idle(self) -> bool:
        """Whether it is loaded and nobody uses it."""
        return self.state is ComponentState.LOADED and not self.leases

    @property
    def is_claimed(self) -> bool:
        """Whether somebody loads or unloads it."""
        return self._claim is not None

    def is_claimed_by(self, owner: Lease) -> bool:
        """Whether it is `owner` who loads or unloads it."""
        return self._claim is not None and self._claim() is owner

    def claim(self, owner: Lease, state: ComponentState) -> None:
        """Let `owner` load or unload it."""
        self._claim, self.state = weakref.ref(owner), state

    def fill(self, module: "nn.Module", size: int, kind: str) -> None:
        """Take the loaded module and end the claim."""
        self.module, self.weight_bytes, self.precision = module, size, kind
        self.state, self._claim = ComponentState.LOADED, None

    def clear(self) -> None:
        """Let go of the module and of the claim."""
        self.state, self._claim, self.module = ComponentState.NOT_LOADED, None, None

    def clear_if_abandoned(self) -> None:
        """Clear it when whoever loaded or unloaded it is gone."""
        if self._claim is not None and self._claim() is None:
            self.clear()

    def status(self, now: float) -> ComponentStatus:
        """What is known of it without asking the disk; `now` by the manager's clock."""
        is_loaded = self.state is ComponentState.LOADED
        return ComponentStatus(
            name=self.spec.name,
            title=self.spec.title,
            state=self.state,
            lease_count=len(self.leases),
            weight_bytes=self.weight_bytes if is_loaded else None,
            idle_s=now - self.idle_since if self.is_idle else None,
            precision=self.precision if is_loaded else None,
        )


def with_reason(spec: ComponentSpec, status: ComponentStatus) -> ComponentStatus:
    """The status with why it cannot be loaded; may ask the disk, so not for under a lock."""
    if status.state is not ComponentState.NOT_LOADED or not (reason := spec.why_unavailable()):
        return status
    return ComponentStatus(
        spec.name, spec.title, ComponentState.UNAVAILABLE, why_unavailable=reason
    )
