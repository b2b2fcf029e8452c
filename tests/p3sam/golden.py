"""Golden arrays of the published model's steps; `tests/data/p3sam` holds them."""

from pathlib import Path

import numpy as np

_FOLDER = Path(__file__).parents[1] / "data" / "p3sam"


def load_golden(name: str) -> dict[str, np.ndarray]:
    """All arrays of one file by name."""
    with np.load(_FOLDER / f"{name}.npz") as arrays:
        return dict(arrays)
