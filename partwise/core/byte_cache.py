"""A cache that forgets what was used least recently once its bytes exceed a limit."""

import threading
from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class ByteCache(Generic[K, V]):
    """Values by key within `limit_bytes`, safe between threads; larger values are not kept."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._entries: OrderedDict[K, tuple[V, int]] = OrderedDict()
        self._lock = threading.Lock()
        self._total_bytes = 0

    @property
    def total_bytes(self) -> int:
        """Bytes of all values."""
        with self._lock:
            return self._total_bytes

    def get(self, key: K) -> V | None:
        """The value, which counts as a use of it; None when it is not there."""
        with self._lock:
            if key not in self._entries:
                return None
            self._entries.move_to_end(key)
            return self._entries[key][0]

    def put(self, key: K, value: V, byte_count: int) -> None:
        """Keep a value, in place of another of this key, at the cost of the least recently used."""
        with self._lock:
            self._drop(key)
            if byte_count > self._limit_bytes:
                return
            self._entries[key] = (value, byte_count)
            self._total_bytes += byte_count
            while self._total_bytes > self._limit_bytes:
                self._drop(next(iter(self._entries)))

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._entries.clear()
            self._total_bytes = 0

    def _drop(self, key: K) -> None:
        if key in self._entries:
            self._total_bytes -= self._entries.pop(key)[1]
