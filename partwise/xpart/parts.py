"""What the stages of X-Part hand to one another, on the host. No torch at run time."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

    from partwise.geometry.voxels import VoxelGrid


@dataclass(frozen=True)
class UnitFrame:
    """Where the networks' frame lies in the mesh: v' = (v − center) / scale, within ±0.8.

    center: (3,) float64. scale: in mesh units.
    """

    center: NDArray[np.float64]
    scale: float

    def to_network(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """(..., 3) float64 in the networks' frame, of points in mesh coordinates."""
        return np.asarray((points - self.center) / self.scale, dtype=np.float64)

    def to_mesh(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """(..., 3) float64 in mesh coordinates, of points in the networks' frame."""
        return np.asarray(points * self.scale + self.center, dtype=np.float64)


@dataclass(frozen=True)
class PreparedParts:
    """A mesh and boxes made ready for X-Part: P parts, N points of each surface.

    kept: (P,) int64 places of these parts among the boxes that were given. dropped: places of the
    boxes that no vertex of the mesh lies in. aabbs: (P, 2, 3) float32, minimum then maximum.
    object_surface: (N, 7) float32: x y z, unit normal, 0. part_surfaces: (P, N, 7) float32.
    voxels: of the object's points. All in the networks' frame. stage_seconds: time by stage.
    """

    frame: UnitFrame
    kept: NDArray[np.int64]
    dropped: tuple[int, ...]
    aabbs: NDArray[np.float32]
    object_surface: NDArray[np.float32]
    part_surfaces: NDArray[np.float32]
    voxels: "VoxelGrid"
    stage_seconds: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Conditions:
    """What the PartFormer looks at, on the host, in the type that products are made in.

    object: (1, M, W), the same for all parts, or (P, M, W). parts: (P, M, W). Between processes
    they go as bytes: a child may not send tensors, and numpy has no bfloat16.
    """

    object: "Tensor"
    parts: "Tensor"

    def __getstate__(self) -> dict[str, tuple[NDArray[np.uint8], str]]:
        return {name: _as_bytes(getattr(self, name)) for name in ("object", "parts")}

    def __setstate__(self, state: dict[str, tuple[NDArray[np.uint8], str]]) -> None:
        for name, packed in state.items():
            object.__setattr__(self, name, _from_bytes(*packed))


def _as_bytes(tensor: "Tensor") -> tuple[NDArray[np.uint8], str]:
    """(…, n) uint8 of a tensor's last axis, and its type by name."""
    import torch

    packed: NDArray[np.uint8] = tensor.contiguous().view(torch.uint8).numpy()
    return packed, str(tensor.dtype).removeprefix("torch.")


def _from_bytes(packed: NDArray[np.uint8], dtype: str) -> "Tensor":
    import torch

    kind: Any = getattr(torch, dtype)
    return torch.from_numpy(packed).view(kind)


@dataclass(eq=False)
class UnfinishedLatents:
    """The latents of P parts on their way from noise to shape; what is there survives a failure.

    latents: (P, T, C) float32 after `done_steps` steps of the sampler.
    """

    latents: NDArray[np.float32]
    done_steps: int = 0

    def put(self, latents: NDArray[np.float32]) -> None:
        """Take the latents after one more step."""
        self.latents = latents
        self.done_steps += 1


@dataclass(frozen=True)
class RawSurface:
    """A part's surface as the field gave it, in the networks' frame.

    vertices: (V, 3) float64. faces: (F, 3) int64, outward. query_count: places of the field that
    were evaluated.
    """

    vertices: NDArray[np.float64]
    faces: NDArray[np.int64]
    query_count: int
