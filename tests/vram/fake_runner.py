"""A runner that builds nothing but what a spec says, for tests without torch."""

from typing import Any

from partwise.core.progress import CancelToken, ProgressCallback, ignore_progress
from partwise.vram.component import ComponentSpec, LoadOrder
from partwise.vram.footprint import weight_bytes
from partwise.vram.runner import Loaded, find_function
from tests.vram.fakes import FakeDevice


class FakeRunner:
    """Keeps modules by name; on a `FakeDevice` they are noted as placed and withdrawn."""

    def __init__(self, device: FakeDevice | None = None, *, keeps_on_host: bool = False) -> None:
        self.device = device or FakeDevice()
        self._keeps_on_host = keeps_on_host
        self._modules: dict[str, Any] = {}
        self._kept: dict[str, int] = {}
        self.prefetched: list[str] = []
        self.rest_count = 0

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
        module = spec.build(LoadOrder(precision=precision, cancel=cancel, progress=progress))
        self._modules[spec.name] = module
        self.device.placed.append(module)
        size = weight_bytes(module)
        self._kept[spec.name] = size if self._keeps_on_host else 0
        return Loaded(module, size, precision, self._kept[spec.name], is_on_host=is_on_host)

    def call(
        self,
        name: str,
        target: str,
        *args: Any,
        progress: ProgressCallback = ignore_progress,
        cancel: CancelToken | None = None,
        **kwargs: Any,
    ) -> Any:
        function = find_function(target)
        return function(self._modules[name], *args, progress=progress, cancel=cancel, **kwargs)

    def park(self, name: str) -> None:
        if (module := self._modules.pop(name, None)) is not None:
            self.device.withdrawn.append(module)

    def drop(self, name: str) -> None:
        self.park(name)
        self._kept[name] = 0

    def prefetch(self, spec: ComponentSpec, precision: str, cancel: CancelToken) -> None:
        self.prefetched.append(spec.name)
        self._kept[spec.name] = 1

    def kept_bytes(self, name: str) -> int:
        return self._kept.get(name, 0)

    def lose(self) -> None:
        """End as a process does that crashed."""
        self._modules.clear()
        self._kept.clear()

    def rest(self) -> bool:
        self.rest_count += 1
        return False

    def give_back(self) -> None:
        pass

    def close(self) -> None:
        for name in list(self._modules):
            self.drop(name)
