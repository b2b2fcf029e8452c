"""Models in a process of their own: once it ends, the device holds nothing of ours at all.

The process starts at the first load. A crash ends the models and nothing else; the next load
starts a new one.
"""

import atexit
import contextlib
import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any

from partwise.core.errors import EngineError
from partwise.core.progress import CancelToken, ProgressCallback, ignore_progress
from partwise.vram.component import ComponentSpec
from partwise.vram.readings import DeviceReading
from partwise.vram.runner import Loaded
from partwise.vram.settings import VramSettings
from partwise.vram.worker_link import WorkerLink
from partwise.vram.worker_messages import ChildState, Start

logger = logging.getLogger(__name__)

_UNLOAD_S = 60.0  # an unload takes well under a second, unless the device hangs


class WorkerRunner:
    """A `Runner` whose models live in a child process; safe between threads.

    setup: "package.module:function" that makes the child's list of `ComponentSpec` from
    `setup_args`, anything that pickles; a component is loaded by its name there. on_exit hears, in
    a sentence, when the process was lost with its models; not of `rest`, `end` and `close`. It is
    called before anything can be loaded again, so it must not load; it may be set later on.
    """

    def __init__(
        self,
        setup: str,
        setup_args: tuple[Any, ...],
        settings: VramSettings,
        *,
        on_exit: Callable[[str], None] = lambda sentence: None,
        cancel_grace_s: float = 10.0,
    ) -> None:
        self._setup = (setup, setup_args)
        self._settings = settings
        self.on_exit = on_exit
        self._cancel_grace_s = cancel_grace_s
        self._budget_bytes = settings.budget_bytes
        self._lock = threading.Lock()
        self._link: WorkerLink | None = None
        self._at_work: dict[WorkerLink, int] = {}
        self._is_closed = False
        atexit.register(self.close)

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
        """See `Runner.load`; starts the process if need be."""
        with self._working(starts=True) as link:
            try:
                wanted = (spec.name, precision, is_on_host, streaming)
                loaded: Loaded = link.ask("load", *wanted, cancel=cancel, progress=progress)
            except BaseException:  # it may have been done in the very moment of a cancel
                self._take_off("park", spec.name, link)
                raise
            link.loaded.add(spec.name)
            return loaded

    def call(
        self,
        name: str,
        target: str,
        *args: Any,
        progress: ProgressCallback = ignore_progress,
        cancel: CancelToken | None = None,
        **kwargs: Any,
    ) -> Any:
        """See `Runner.call`. Arguments are anything that pickles and can be imported there.

        The result is limited to plain values, numpy arrays and our own dataclasses. Raises
        `Cancelled`, `WorkerOutOfMemory`, the `AppError` of the function, else `EngineError`.
        """
        with self._working(starts=False) as link:
            if name not in link.loaded:
                raise _gone()
            return link.ask("call", name, target, args, kwargs, progress=progress, cancel=cancel)

    def park(self, name: str) -> None:
        """See `Runner.park`; what cannot be unloaded goes with its process."""
        self._take_off("park", name, self._link)

    def drop(self, name: str) -> None:
        """See `Runner.drop`; what cannot be unloaded goes with its process."""
        self._take_off("drop", name, self._link)

    def prefetch(self, spec: ComponentSpec, precision: str, cancel: CancelToken) -> None:
        """See `Runner.prefetch`; it ends when the process rests."""
        self._started().ask("prefetch", spec.name, precision, cancel=cancel)

    def kept_bytes(self, name: str) -> int:
        """See `Runner.kept_bytes`; as the child told last, which it does before each answer."""
        state = self._state()
        return state.kept.get(name, 0) if state else 0

    def rest(self) -> bool:
        """End the process unless something is loaded in it, or about to be; whether one was."""
        with self._lock:
            link = self._link
            if link is None or not link.is_alive or self._at_work.get(link) or link.loaded:
                return False
            self._link = None
        link.end("The models' process had nothing more to do and was ended.")
        return True

    def end(self) -> None:
        """End the process now, whatever it does; work in it raises `EngineError`."""
        with self._lock:
            link, self._link = self._link, None
        if link is not None:
            link.end("The models' process was ended on request. Start the job again.")

    def give_back(self) -> None:
        """See `Runner.give_back`; in the process also what is unreachable is collected."""
        link = self._link
        if link is not None:
            with contextlib.suppress(EngineError):  # gone or hung: `on_exit` tells it
                link.ask("give_back", timeout_s=_UNLOAD_S)

    def close(self) -> None:
        """End the process for good; later loads raise."""
        with self._lock:
            self._is_closed = True
        self.end()
        atexit.unregister(self.close)

    @property
    def is_alive(self) -> bool:
        """Whether there is a process."""
        link = self._link
        return link is not None and link.is_alive

    def process_ids(self) -> list[int]:
        """The id of the process in a list, empty without one."""
        link = self._link
        return [link.pid] if link is not None and link.is_alive else []

    def device_reading(self) -> DeviceReading | None:
        """The device's memory as the process told it last; None without one. Never waits for it."""
        state = self._state()
        return state.reading if state else None

    def own_bytes(self) -> int | None:
        """What the process holds where models run, as it told last; None without one."""
        state = self._state()
        return state.own_bytes if state else None

    def reset_peaks(self) -> None:
        """Let the allocator's peaks begin anew; those from before are not shown any more."""
        if (link := self._link) is not None:
            link.reset_peaks()

    def set_budget(self, budget_bytes: int | None) -> None:
        """The most that the process may hold on a GPU, this one and those to come."""
        with self._lock:
            self._budget_bytes, link = budget_bytes, self._link
        if link is not None:
            link.set_budget(budget_bytes)

    def _state(self) -> ChildState | None:
        link = self._link
        return link.state() if link is not None and link.is_alive else None

    @contextlib.contextmanager
    def _working(self, *, starts: bool) -> Iterator[WorkerLink]:
        """The process, which does not rest meanwhile."""
        link = self._started(is_work=True) if starts else self._at_hand()
        try:
            yield link
        finally:
            with self._lock:
                self._at_work[link] -= 1
                if not self._at_work[link]:
                    del self._at_work[link]

    def _at_hand(self) -> WorkerLink:
        with self._lock:
            link = self._link
            if link is None or not link.is_alive:
                raise _gone()
            self._at_work[link] = self._at_work.get(link, 0) + 1
            return link

    def _started(self, *, is_work: bool = False) -> WorkerLink:
        while True:
            with self._lock:
                if self._is_closed:
                    raise EngineError("Partwise is shutting down. Start it again.")
                link = self._link = self._link or self._new_link()
                if link.is_alive:
                    if is_work:
                        self._at_work[link] = self._at_work.get(link, 0) + 1
                    return link
            link.has_ended.wait()  # its loss is told before another one begins

    def _new_link(self) -> WorkerLink:
        setup, setup_args = self._setup
        level = logging.getLogger().getEffectiveLevel()
        start = Start(setup, setup_args, self._settings, self._budget_bytes, level)
        link = WorkerLink(start, on_loss=self._lost, cancel_grace_s=self._cancel_grace_s)
        logger.info("the models' process %d has started", link.pid)
        return link

    def _lost(self, link: WorkerLink, sentence: str) -> None:
        try:
            self.on_exit(sentence)
        finally:
            with self._lock:
                if self._link is link:
                    self._link = None

    def _take_off(self, verb: str, name: str, link: WorkerLink | None) -> None:
        """Never fails: a process in which it does is ended, which frees all that it held."""
        if link is None:
            return
        link.loaded.discard(name)
        try:
            link.ask(verb, name, timeout_s=_UNLOAD_S)
        except EngineError as err:
            if link.is_alive:
                logger.error("“%s” could not be unloaded: %s", name, err)
                link.lose(f"“{name}” could not be unloaded, so the models' process was ended.")


def _gone() -> EngineError:
    return EngineError("The models' process has ended, and the model with it. Start the job again.")
