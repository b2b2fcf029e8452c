"""A thread that does what has been idle long enough to be due. Knows times, not what is done."""

import logging
import threading
from collections.abc import Callable

logger = logging.getLogger(__name__)


class IdleTimer:
    """Calls `step` whenever the time that `due` names has come, from `start` to `stop`.

    `due` is called under `changed`'s lock, which is notified when its answer may differ; None means
    that nothing is going to be due.
    """

    def __init__(
        self,
        step: Callable[[], object],
        due: Callable[[], float | None],
        changed: threading.Condition,
        clock: Callable[[], float],
    ) -> None:
        self._step = step
        self._due = due
        self._changed = changed
        self._clock = clock
        self._is_stopped = False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread; a second call, or one after `stop`, does nothing.

        Under the lock, which is not taken here: a thread killed in doing so would keep it.
        """
        if self._thread is None and not self._is_stopped:
            self._thread = threading.Thread(target=self._run, name="idle-unload", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """End the thread and wait for it."""
        with self._changed:
            self._is_stopped = True
            self._changed.notify_all()
            thread = self._thread
        if thread is not None:
            thread.join()

    def _run(self) -> None:
        while True:
            with self._changed:
                if self._is_stopped:
                    return
                due = self._due()
                wait_s = None if due is None else due - self._clock()
                if wait_s is None or wait_s > 0:
                    self._changed.wait(wait_s)
                    continue
            try:
                self._step()
            except RuntimeError:  # torch's: the device is gone, the component counts as unloaded
                logger.exception("unloading an idle model failed")
