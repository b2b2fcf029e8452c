"""What a run of P3-SAM needs of memory, in every way that it can be run. Free of torch.

Before the mesh is prepared its voxels are expected, afterwards they are counted.
"""

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass

from partwise.p3sam.cost import click_bytes, encode_bytes, mask_options, pair_count
from partwise.p3sam.precision import quality_words
from partwise.p3sam.prepare import PreparedMesh
from partwise.p3sam.settings import P3SamSettings
from partwise.points.cost import Levels, StageBytes, count_levels, expected_levels
from partwise.vram.plan import Form, JobNeed, Plan, Rung, Stage, StageOption
from partwise.vram.precision import QUANTIZED
from studio.catalog import P3SAM, Engines, find_model

ENCODE, MASKS, CLICK = "encode", "masks", "click"
_RUNGS = {
    "fp32": Rung.WHOLE,
    "bf16": Rung.SIXTEEN_BIT,
    "fp16": Rung.SIXTEEN_BIT,
    "int8": Rung.EIGHT_BIT,
    "int4": Rung.FOUR_BIT,
}
_READ_BYTES_S = 1e9  # of a disk that is not slow, for comparing plans
_ENCODE_S_PER_POINT = 4e-6  # on a small card, for comparing plans
_CPU_SLOWNESS = 40.0  # of a CPU beside a small card
_UNPACKED_BYTES = 2 * 4 * 27 * 512 * 512  # of the encoder's widest matrix, and one more like it
_ADVICE = "Choose fewer points or a smaller preset, then fewer prompts in one pass."
_LIBRARY = "bitsandbytes"


@dataclass(frozen=True)
class Run:
    """A run to be planned: its stages; levels is None before the mesh is prepared."""

    settings: P3SamSettings
    levels: Levels | None = None
    stages: tuple[str, ...] = (ENCODE, MASKS)


def levels_of(prepared: PreparedMesh) -> Levels:
    """The voxels of a prepared mesh, level by level."""
    return count_levels(prepared.voxels.grid)


def need_of(run: Run, engines: Engines) -> JobNeed:
    """All ways to run; predictions are corrected by what was measured here before."""
    count_bytes = engines.manager.spec(P3SAM).count_bytes
    is_gpu = engines.memory.device.read().is_gpu
    forms = []
    for precision, rung in _RUNGS.items():
        size = count_bytes(precision)
        if size is not None and (precision not in QUANTIZED or _can_quantize()):
            forms.append(_Builder(run, engines, precision, is_gpu).form(rung, size))
    size = count_bytes("fp32")
    if is_gpu and size is not None:
        forms.append(_Builder(run, engines, "fp32", is_gpu=False).form(Rung.CPU, size))
    title = f"{find_model(P3SAM).title}, {run.settings.point_num:,} points"
    return JobNeed(title, tuple(forms), _ADVICE)


def plan_now(engines: Engines, settings: P3SamSettings) -> Plan | None:
    """How a run on a mesh that is not prepared yet would go now; None where nobody can tell."""
    return engines.memory.plan(need_of(Run(settings), engines))


def _can_quantize() -> bool:
    return importlib.util.find_spec(_LIBRARY) is not None


@dataclass(frozen=True)
class _Builder:
    """Makes the form of one precision of the weights, computing on a GPU or on the CPU."""

    run: Run
    engines: Engines
    precision: str
    is_gpu: bool

    def form(self, rung: Rung, size: int) -> Form:
        """The form; `size`: bytes of the weights."""
        kept = self.engines.manager.host_weights().get(P3SAM, 0)
        makers = {ENCODE: self._encode, MASKS: self._masks, CLICK: self._click}
        return Form(
            rung=rung,
            precision=self.precision,
            weight_bytes={P3SAM: size},
            host_bytes=0 if kept >= size else size,
            load_seconds={P3SAM: size / _READ_BYTES_S},
            stages=tuple(makers[name]() for name in self.run.stages),
            quality=quality_words(self.precision),
        )

    def _encode(self) -> Stage:
        settings = self.run.settings
        precision = settings.encoder_precision
        if precision == "fp32" and self.precision in ("bf16", "fp16"):
            precision = self.precision
        size = encode_bytes(
            self.run.levels or expected_levels(settings.point_num),
            settings.point_num,
            precision=precision,
            is_gpu=self.is_gpu,
        )
        seconds = settings.point_num * _ENCODE_S_PER_POINT
        if not self.is_gpu:
            seconds *= _CPU_SLOWNESS
        option = self._option(ENCODE, {}, size, seconds)
        return Stage(ENCODE, "Encoding the mesh", P3SAM, (option,))

    def _masks(self) -> Stage:
        settings = self.run.settings
        seconds = self.engines.pace.seconds_for(
            settings.precision,
            pair_count(settings),
            is_on_gpu=self.is_gpu and self.engines.pace.is_on_gpu,
        )
        options = tuple(
            self._option(
                MASKS,
                {
                    "prompt_batch": option.prompt_batch,
                    "point_chunk": option.point_chunk,
                    "is_streamed": int(option.is_streamed),
                },
                option.size,
                seconds * option.relative_time,
            )
            for option in mask_options(settings, is_gpu=self.is_gpu)
        )
        return Stage(MASKS, "Predicting masks", P3SAM, options)

    def _click(self) -> Stage:
        settings = self.run.settings
        options = tuple(
            self._option(
                CLICK,
                {"is_streamed": int(is_streamed)},
                click_bytes(settings, is_gpu=self.is_gpu, is_streamed=is_streamed),
                0.1 + 0.1 * is_streamed,
            )
            for is_streamed in ((False, True) if self.is_gpu else (False,))
        )
        return Stage(CLICK, "Predicting three masks", P3SAM, options)

    def _option(
        self, stage: str, knobs: Mapping[str, int], size: StageBytes, seconds: float
    ) -> StageOption:
        factor = self.engines.memory.peaks.factor(P3SAM, stage, self.precision)
        peak = round(size.peak_bytes * factor)
        if self.precision in QUANTIZED and stage == ENCODE:
            peak += _UNPACKED_BYTES
        return StageOption(knobs, peak, size.largest_bytes, seconds)
