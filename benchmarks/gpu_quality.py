"""What weights of fewer bits change in P3-SAM's answers and what they take of this device."""

from dataclasses import asdict, replace

import numpy as np

from benchmarks.common import Payload
from benchmarks.gpu_machine import installed
from benchmarks.gpu_setting import MIB, Setting, claim, in_mib, running_studio
from benchmarks.p3sam_subject import figure_mesh
from benchmarks.precision import Answer, difference
from partwise.p3sam.pipeline import PromptMasks
from partwise.p3sam.precision import MEASURED
from partwise.p3sam.prepare import PreparedMesh, prepare_mesh
from partwise.p3sam.settings import P3SamSettings
from partwise.vram.component import Placement
from partwise.vram.plan import PRECISIONS
from partwise.vram.precision import QUANTIZED
from studio.catalog import P3SAM
from studio.workflow import Studio

_LIBRARY = "bitsandbytes"
_PIPELINE = "partwise.p3sam.pipeline"
_PROMPTS = 12
_FACES = 20_000


def measure_quality(setting: Setting) -> Payload:
    """Each precision beside fp32 on one mesh."""
    point_num = setting.pick(3_000, 400)
    settings = replace(P3SamSettings(), point_num=point_num, prompt_num=_PROMPTS)
    prepared = prepare_mesh(*figure_mesh(_FACES), settings=settings)
    rows: Payload = {}
    with running_studio(setting) as studio:
        wanted, rows["fp32"] = _answer(studio, "fp32", prepared, settings)
        for precision in PRECISIONS[1:]:
            rows[precision] = _row(studio, precision, prepared, settings, wanted)
    return {"points": point_num, "prompts": _PROMPTS, "precisions": rows}


def _row(
    studio: Studio,
    precision: str,
    prepared: PreparedMesh,
    settings: P3SamSettings,
    wanted: Answer,
) -> Payload:
    if precision in QUANTIZED and installed(_LIBRARY) is None:
        return {"outcome": f"not run: {_LIBRARY} is not installed"}
    found, figures = _answer(studio, precision, prepared, settings)
    if not np.isfinite(found.features).all() or not np.isfinite(found.ious).all():
        return {"outcome": "the answers are not finite numbers", **figures}
    gap = difference(found, wanted)
    figures |= {key: value for key, value in asdict(gap).items() if key != "weight_bytes"}
    said = MEASURED[precision]
    is_as_said = gap.features_relative <= 1.5 * said
    return figures | {
        "said_in_plans": said,
        "is_as_said": claim(is_as_said, "at most half as much again as plans say"),
    }


def _answer(
    studio: Studio, precision: str, prepared: PreparedMesh, settings: P3SamSettings
) -> tuple[Answer, Payload]:
    """The answers, and the bytes of weights and peaks."""
    manager, monitor = studio.manager, studio.monitor
    manager.unload_all_models()
    with manager.use(P3SAM, Placement(precision)) as lease:
        here = next(one for one in manager.get_status().components if one.name == P3SAM)
        with monitor.stage("encode") as encoding:
            features = lease.call(f"{_PIPELINE}:encode_points", prepared)
        with monitor.stage("masks") as asking:
            found: PromptMasks = lease.call(
                f"{_PIPELINE}:predict_masks", features, prepared, settings
            )
    size = here.weight_bytes or 0
    peaks = {"encode": encoding.memory, "masks": asking.memory}
    return Answer(size, features, found.masks, found.ious), {
        "outcome": "ran",
        "weights_mib": round(size / MIB, 1),
        "precision": here.precision,
        "peak_mib": {name: in_mib(memory.peak_bytes) for name, memory in peaks.items()},
        "s": {name: round(memory.elapsed_s, 3) for name, memory in peaks.items()},
    }
