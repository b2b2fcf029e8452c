"""How P3-SAM runs: what is sampled, every threshold on the way to face labels, run-time knobs."""

from dataclasses import dataclass, fields

PRECISIONS = ("fp32", "bf16", "fp16")
_SHARES = (
    "mask_probability",
    "nms_iou",
    "box_iou",
    "hole_coverage",
    "small_region",
    "promoted_region",
    "merge_threshold",
    "small_part",
)
_COUNTS = {
    "point_num": 1,
    "prompt_num": 1,
    "seed": 0,
    "cluster_size": 0,
    "repair_passes": 0,
    "samples_per_face": 1,
    "prompt_batch": 1,
    "point_chunk": 0,
}


@dataclass(frozen=True)
class P3SamSettings:
    """The published defaults; shares are in [0, 1].

    point_num, prompt_num: how many surface points and prompts. is_clean: weld, drop repeated and
    degenerate faces, turn windings first. is_connected: labels spread over the face graph, else
    each face asks its nearest points (samples_per_face of them). is_post_processed: small parts
    join a neighbour once the larger ones cover merge_threshold of the area.

    mask_probability: above it a point is in a mask. nms_iou: masks more alike are one cluster.
    cluster_size: clusters with more members are kept. box_iou: of masks whose boxes overlap more,
    the first stays. hole_coverage: a mask with more of its points free fills a hole.
    small_region: a region with less of its component's area loses its label. promoted_region: an
    unlabelled region with more of the whole area becomes a part. small_part: of the whole area.

    prompt_batch: prompts in one pass. point_chunk: points at work at once, 0 = choose. precision:
    of the heads' hidden layers. encoder_precision: of the encoder's matrix products. None of the
    first two changes the result.
    """

    point_num: int = 100_000
    prompt_num: int = 400
    seed: int = 42
    is_clean: bool = True
    is_connected: bool = True
    is_post_processed: bool = False
    mask_probability: float = 0.5
    nms_iou: float = 0.9
    cluster_size: int = 2
    box_iou: float = 0.5
    hole_coverage: float = 0.7
    small_region: float = 0.001
    promoted_region: float = 0.001
    repair_passes: int = 50
    merge_threshold: float = 0.95
    small_part: float = 0.01
    samples_per_face: int = 10
    prompt_batch: int = 32
    point_chunk: int = 0
    precision: str = "fp32"
    encoder_precision: str = "fp32"

    def __post_init__(self) -> None:
        for name, least in _COUNTS.items():
            value = getattr(self, name)
            if not _is_integer(value) or value < least:
                raise ValueError(f"{name} is {value!r}; give a whole number of at least {least}")
        for name in _SHARES:
            value = getattr(self, name)
            if not (_is_integer(value) or isinstance(value, float)) or not 0 <= value <= 1:
                raise ValueError(f"{name} is {value!r}; give a number between 0 and 1")
        for field in fields(self):
            if field.type is bool and not isinstance(getattr(self, field.name), bool):
                raise ValueError(
                    f"{field.name} is {getattr(self, field.name)!r}; give true or false"
                )
        for name in ("precision", "encoder_precision"):
            if getattr(self, name) not in PRECISIONS:
                raise ValueError(
                    f"{name} is {getattr(self, name)!r}; give one of {', '.join(PRECISIONS)}"
                )

    @property
    def prompt_count(self) -> int:
        """How many prompts there are: prompt_num, but no more than points to choose from."""
        return min(self.prompt_num, self.point_num)


def _is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
