"""Small inputs whose right answer can be said by hand, and the golden ones unpacked."""

from dataclasses import replace

import numpy as np

from partwise.geometry.sampling import SurfaceSamples
from partwise.p3sam.prepare import PreparedMesh, prepare_mesh
from partwise.p3sam.settings import P3SamSettings


def line(count: int) -> np.ndarray:
    """(N, 3) points 0, 1, 2 … on the x axis."""
    return np.arange(count)[:, None] * np.array([1.0, 0, 0])


def on(count: int, start: int, stop: int) -> np.ndarray:
    """(N,) bool, True from `start` to before `stop`."""
    places = np.arange(count)
    return (places >= start) & (places < stop)


def golden_masks(
    golden: dict[str, np.ndarray], case: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Masks, predicted IoUs and normalised points of one golden case."""
    points = golden[f"{case}_points"]
    masks = np.unpackbits(golden[f"{case}_masks_packed"], axis=1)[:, : len(points)].astype(bool)
    low, high = points.min(axis=0), points.max(axis=0)
    scale = ((high - low) / 2).max() + 1e-10
    return masks, golden[f"{case}_iou"], (points - (high + low) / 2) / scale


def golden_mesh(golden: dict[str, np.ndarray], case: str) -> PreparedMesh:
    """The golden mesh as it is, with the samples of one case."""
    settings = P3SamSettings(point_num=8, prompt_num=2, is_clean=False)
    faces = golden["faces"].astype(np.int64)
    prepared = prepare_mesh(golden["vertices"], faces, settings=settings)
    samples = SurfaceSamples(golden[f"{case}_points"], golden[f"{case}_face_idx"].astype(np.int64))
    points = golden_masks(golden, case)[2]
    return replace(prepared, samples=samples, points=points)


def strip(widths: list[float]) -> tuple[np.ndarray, np.ndarray]:
    """Vertices and faces of a chain of triangles along x, each with the next as its neighbour.

    widths: (F,) twice the area of each triangle.
    """
    x = np.concatenate([[0.0, 0.0], np.zeros(len(widths))])
    for i, width in enumerate(widths):
        x[i + 2] = x[i] + width
    y = np.arange(len(x)) % 2
    vertices = np.stack([x, y.astype(float), np.zeros(len(x))], axis=1) + 1
    start = np.arange(len(widths))[:, None]
    return vertices, start + np.array([[0, 1, 2]])
