"""X-Part's pipeline as something to call: it loads when called and unloads afterwards.

Knows no stages of the model: whatever is registered under its component's name and can be called
works. Holds no module itself, so keeping one of these keeps no memory.
"""

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from partwise.core.progress import CancelToken

if TYPE_CHECKING:
    from model_manager import ModelManager

__all__ = ["LazyPartFormer"]


class LazyPartFormer:
    """Calls a component of the manager, under a lease for the time of the call.

    With `unload_after` the component leaves the device after each call, also after one that failed
    or was cancelled, unless somebody else uses it; the host keeps its weights for a while, so that
    the next call need not read them from the disk. Attributes are those of the loaded module: the
    first touch loads it, and it then stays until the idle time is over. A method fetched so takes a
    lease of its own for each call; other values are handed out as they are, so read tensors under
    `manager.use` instead.
    """

    def __init__(
        self, manager: "ModelManager", component: str = "xpart", unload_after: bool = True
    ) -> None:
        self._manager = manager
        self._component = component
        self._unload_after = unload_after

    @property
    def is_loaded(self) -> bool:
        """Whether the component is loaded now; asking does not load it."""
        return self._component in self._manager.resident_weights()

    def __call__(self, *args: Any, cancel: CancelToken | None = None, **kwargs: Any) -> Any:
        """Load the pipeline, call it, unload it. `cancel` also ends the wait for its place; the
        pipeline is given it when there is one. Raises what `ModelManager.use` and the pipeline do.
        """
        if cancel is not None:
            kwargs["cancel"] = cancel
        try:
            with self._manager.use(self._component, cancel=cancel) as lease:
                return lease.module(*args, **kwargs)
        finally:
            if self._unload_after:
                self._manager.unload(self._component, keep_on_host=True)

    def unload(self) -> None:
        """Unload the component now, off the host too, unless it is in use."""
        self._manager.unload(self._component)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # copying and pickling ask for these: they never load anything
            raise AttributeError(f"{type(self).__name__} has no attribute “{name}”")
        with self._manager.use(self._component) as lease:
            value = getattr(lease.module, name)
        return self._leased(name) if inspect.ismethod(value) else value

    def _leased(self, name: str) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            with self._manager.use(self._component) as lease:
                return getattr(lease.module, name)(*args, **kwargs)

        return call

    def __copy__(self) -> "LazyPartFormer":
        return LazyPartFormer(self._manager, self._component, self._unload_after)

    def __deepcopy__(self, memo: dict[int, Any]) -> "LazyPartFormer":
        return self.__copy__()  # there is one manager for all copies

    def __reduce__(self) -> str:
        raise TypeError(
            "a LazyPartFormer belongs to this process's models and cannot be pickled; make one "
            "in the other process from its own manager"
        )

    def __repr__(self) -> str:
        state = "loaded" if self.is_loaded else "not loaded"
        return f"<LazyPartFormer of “{self._component}”, {state}>"
