"""How far predicted peaks were from measured ones on each machine, remembered in a small file."""

import json
import logging
import threading
from collections.abc import Mapping
from pathlib import Path

from partwise.core.files import write_atomically

logger = logging.getLogger(__name__)

_FORMAT = "partwise measured peaks 1"
_KEPT = 8  # measurements of each stage
_LEAST, _MOST = 0.5, 4.0  # beyond these a measurement was of something else
_ENOUGH = 3  # measurements before a prediction is lowered; one is enough to raise it

Ratios = dict[str, list[float]]  # by "component/stage/precision", the newest last


class MeasuredPeaks:
    """Measured over predicted bytes of stages on one machine; safe between threads.

    The file is read when first needed and written at each note, so that it is whole at any moment.
    Two processes may write it: one note can be lost then, no more. A file that cannot be read is
    started anew, and one that cannot be written is done without; the log says so.
    """

    def __init__(self, path: Path | None, machine: str) -> None:
        """path: None keeps the figures in memory. machine: its name and its device's."""
        self._path = path
        self._machine = machine
        self._lock = threading.Lock()
        self._ratios: Ratios | None = None
        self._is_unwritable = False

    def factor(self, component: str, stage: str, precision: str) -> float:
        """What predicted bytes are to be multiplied with, in [0.5, 4]; 1.0 when unknown.

        The largest ratio of the last measurements; below 1 only after several of them.
        """
        with self._lock:
            if self._ratios is None:
                self._ratios = self._read().get(self._machine, {})
            ratios = self._ratios.get(_key(component, stage, precision), [])
            if not ratios:
                return 1.0
            largest = max(ratios)
            return largest if len(ratios) >= _ENOUGH else max(1.0, largest)

    def note(
        self,
        component: str,
        stage: str,
        precision: str,
        *,
        predicted_bytes: int,
        measured_bytes: int,
    ) -> None:
        """Remember a measured peak. predicted_bytes: as predicted without any factor.

        Nothing is learned where either is 0. Raises ValueError for a negative one.
        """
        if predicted_bytes < 0 or measured_bytes < 0:
            raise ValueError(
                f"predicted_bytes is {predicted_bytes} and measured_bytes {measured_bytes}; "
                "neither can be below 0"
            )
        if not predicted_bytes or not measured_bytes:
            return
        ratio = min(max(measured_bytes / predicted_bytes, _LEAST), _MOST)
        with self._lock:
            known = self._read()
            ratios = self._mine(known)
            kept = ratios.setdefault(_key(component, stage, precision), [])
            kept[:] = [*kept, round(ratio, 4)][-_KEPT:]
            self._ratios = ratios
            self._write({**known, self._machine: ratios})

    def _mine(self, known: Mapping[str, Ratios]) -> Ratios:
        """What the file says, or memory where there is no file to say it."""
        if self._path is None or self._is_unwritable:
            return self._ratios or {}
        return known.get(self._machine, {})

    def _read(self) -> dict[str, Ratios]:
        if self._path is None or self._is_unwritable:
            return {}
        try:
            return _checked(json.loads(self._path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, RecursionError) as error:
            logger.warning(
                "The measured peaks in %s cannot be read (%s); they are measured anew.",
                self._path,
                error,
            )
            return {}

    def _write(self, known: Mapping[str, Ratios]) -> None:
        if self._path is None or self._is_unwritable:
            return
        text = json.dumps({"format": _FORMAT, "machines": known}, indent=1, sort_keys=True)
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(self._path, text.encode())
        except OSError as error:
            self._is_unwritable = True
            logger.warning(
                "Measured peaks cannot be kept in %s (%s); they are known until Partwise ends.",
                self._path,
                error,
            )


def _key(component: str, stage: str, precision: str) -> str:
    return f"{component}/{stage}/{precision}"


def _checked(content: object) -> dict[str, Ratios]:
    """The ratios by machine; raises ValueError for anything that `_write` would not write."""
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        raise ValueError("it is not a file of measured peaks")
    machines = content.get("machines")
    if not isinstance(machines, dict):
        raise ValueError("it names no machines")
    return {machine: _checked_ratios(ratios) for machine, ratios in machines.items()}


def _checked_ratios(content: object) -> Ratios:
    if not isinstance(content, dict):
        raise ValueError(f"a machine has {content!r} instead of its stages")
    for name, ratios in content.items():
        is_list = isinstance(ratios, list) and 0 < len(ratios) <= _KEPT
        if not is_list or not all(_is_ratio(ratio) for ratio in ratios):
            raise ValueError(f"“{name}” has {ratios!r} instead of ratios")
    return content


def _is_ratio(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return _LEAST <= value <= _MOST
