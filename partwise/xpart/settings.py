"""How X-Part runs: steps, resolution, seed, how the field is searched. No torch."""

from dataclasses import dataclass

MAX_PARTS = 50
MAX_SEED = 2**31 - 1
RESOLUTIONS = (128, 256, 512, 1024)
MIN_STEPS, MAX_STEPS = 2, 200
SURFACE, BAND = "surface", "band"
DECODINGS = (SURFACE, BAND)


@dataclass(frozen=True)
class XPartSettings:
    """The published defaults.

    steps: of the sampler, the last of which has length 0 and is not computed. octree_resolution:
    cells along each side of the grid on which a part's field is searched. decoding: “surface”
    follows the surface; “band” evaluates the published wide band around it. seed: of the surface
    samples, the noise, the part numbers and the points that encoders start from.
    """

    steps: int = 50
    octree_resolution: int = 512
    seed: int = 42
    decoding: str = SURFACE

    def __post_init__(self) -> None:
        for name in ("steps", "octree_resolution", "seed"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool):
                raise ValueError(f"{name} is {value!r}; give a whole number")
        if not MIN_STEPS <= self.steps <= MAX_STEPS:
            raise ValueError(f"steps is {self.steps}; give {MIN_STEPS} to {MAX_STEPS}")
        if self.octree_resolution not in RESOLUTIONS:
            known = ", ".join(map(str, RESOLUTIONS))
            raise ValueError(f"octree_resolution is {self.octree_resolution}; give one of {known}")
        if not 0 <= self.seed <= MAX_SEED:
            raise ValueError(f"seed is {self.seed}; give 0 to {MAX_SEED}")
        if self.decoding not in DECODINGS:
            raise ValueError(f"decoding is {self.decoding!r}; give {' or '.join(DECODINGS)}")
        if self.decoding == BAND and self.octree_resolution < 256:
            raise ValueError("decoding “band” needs an octree_resolution of at least 256")

    @property
    def model_calls(self) -> int:
        """How many times the PartFormer runs."""
        return self.steps - 1
