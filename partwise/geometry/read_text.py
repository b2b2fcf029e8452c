"""Numbers out of text, many at once."""

import warnings
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from partwise.geometry.limits import Refusal
from partwise.geometry.topology import Floats, Ints

_Number = TypeVar("_Number", bound=np.generic)


def parse_floats(text: bytes, what: str) -> Floats:
    """All numbers in `text`, which are separated by blanks or line ends, as (N,) float64."""
    return _parse(text, what, np.float64)


def parse_ints(text: bytes, what: str) -> Ints:
    """All whole numbers in `text`, which are separated by blanks or line ends, as (N,) int64."""
    return _parse(text, what, np.int64)


def _parse(text: bytes, what: str, kind: type[_Number]) -> NDArray[_Number]:
    if not text.strip():
        return np.empty(0, dtype=kind)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            # Before numpy 2.3 unreadable text is a DeprecationWarning, from then on a ValueError.
            values: NDArray[Any] = np.fromstring(text, dtype=kind, sep=" ")
        except (DeprecationWarning, ValueError) as err:
            raise Refusal(f"holds text that is no number among its {what}") from err
    return values


def decode_name(raw: bytes) -> str:
    """A name inside a file as printable text of bounded length."""
    text = raw.decode("utf-8", errors="replace").strip()
    return "".join(c for c in text if c.isprintable())[:200]
