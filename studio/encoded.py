"""What P3-SAM has worked out for the last few meshes, kept on the host for the next question.

Free of torch. An entry is made of the mesh's content and the settings that shaped it, so that it
answers for whoever brings the same mesh.
"""

import threading
from dataclasses import dataclass, field, fields, is_dataclass, replace

import numpy as np
from numpy.typing import NDArray

from partwise.core.byte_cache import ByteCache
from partwise.p3sam.click import FaceSamples, assign_samples
from partwise.p3sam.prepare import PreparedMesh
from partwise.p3sam.prompts import farthest_points
from partwise.p3sam.settings import P3SamSettings


@dataclass(frozen=True)
class EncodedKey:
    """What features depend on. mesh: content and kind of the file."""

    mesh: str
    point_num: int
    seed: int
    is_clean: bool
    encoder_precision: str


@dataclass(frozen=True)
class MaskKey:
    """What the best masks depend on, besides the features."""

    prompt_count: int
    precision: str
    mask_probability: float


@dataclass(frozen=True)
class KeptMasks:
    """The best mask of each prompt. packed: (K, ⌈N/8⌉) uint8, eight points a byte. ious: (K,).

    held: see `EncodedMesh`.
    """

    packed: NDArray[np.uint8]
    ious: NDArray[np.float32]
    point_count: int
    held: str = ""

    @classmethod
    def pack(
        cls, masks: NDArray[np.bool_], ious: NDArray[np.float32], held: str = ""
    ) -> "KeptMasks":
        """Keep (K, N) bool masks in an eighth of their bytes."""
        return cls(np.packbits(masks, axis=1), ious, masks.shape[1], held)

    def masks(self) -> NDArray[np.bool_]:
        """(K, N) bool."""
        return np.unpackbits(self.packed, axis=1, count=self.point_count).view(np.bool_)


@dataclass
class EncodedMesh:
    """A prepared mesh with its (N, 512) float32 features, and what was asked of them.

    held: the precision of the weights behind it, empty where that changed no bit.
    """

    prepared: PreparedMesh
    features: NDArray[np.float32]
    held: str = ""
    masks: dict[MaskKey, KeptMasks] = field(default_factory=dict)
    _samples: FaceSamples | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def face_samples(self) -> FaceSamples:
        """Which samples speak for each face; made at the first click."""
        with self._lock:
            if self._samples is None:
                self._samples = assign_samples(self.prepared)
            return self._samples

    def with_prompts(self, count: int) -> PreparedMesh:
        """The prepared mesh with so many prompts; fewer are the first of more."""
        prompts = self.prepared.prompts
        if count > len(prompts):
            prompts = farthest_points(self.prepared.points, count, start=int(prompts[0]))
        return replace(self.prepared, prompts=prompts[:count])

    @property
    def byte_count(self) -> int:
        """Bytes of all its arrays."""
        kept = (self.prepared, self.features, self._samples, *self.masks.values())
        return sum(map(_array_bytes, kept))


def _array_bytes(value: object) -> int:
    """Bytes of an array, or of all arrays in a dataclass."""
    if isinstance(value, np.ndarray):
        return value.nbytes
    if not is_dataclass(value):
        return 0
    return sum(_array_bytes(getattr(value, field.name)) for field in fields(value))


class EncodedMeshes:
    """The last meshes within `limit_bytes`; safe between threads."""

    def __init__(self, limit_bytes: int) -> None:
        self._cache: ByteCache[EncodedKey, EncodedMesh] = ByteCache(limit_bytes)
        self._weights = ""

    @property
    def total_bytes(self) -> int:
        """Bytes of all that is kept."""
        return self._cache.total_bytes

    def is_of(self, weights: str) -> bool:
        """Whether what is kept came from these weights (`Engines.weights_stamp`)."""
        return weights == self._weights

    def start_anew(self, weights: str) -> None:
        """Forget all, and keep from now on what comes from these weights."""
        self._cache.clear()
        self._weights = weights

    def find(self, mesh: str, settings: P3SamSettings) -> EncodedMesh | None:
        """The features of a mesh, when they are kept."""
        return self._cache.get(key_of(mesh, settings))

    def keep(self, mesh: str, settings: P3SamSettings, encoded: EncodedMesh) -> None:
        """Keep features, or count anew what has grown."""
        self._cache.put(key_of(mesh, settings), encoded, encoded.byte_count)


def key_of(mesh: str, settings: P3SamSettings) -> EncodedKey:
    """What must be equal for features to be used again."""
    return EncodedKey(
        mesh,
        settings.point_num,
        settings.seed,
        settings.is_clean,
        settings.encoder_precision,
    )


def mask_key_of(settings: P3SamSettings) -> MaskKey:
    """What must be equal, besides the features, for masks to be used again."""
    return MaskKey(settings.prompt_count, settings.precision, settings.mask_probability)
