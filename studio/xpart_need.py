"""What a run of X-Part needs of memory, in every way that it can be run. Free of torch."""

import importlib.util
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from lazy_partformer import (
    CONDITION,
    CONDITIONER,
    DECODE,
    DIT,
    PRODUCTS,
    SAMPLE,
    VAE,
)
from partwise.points.cost import EXACT
from partwise.vram.plan import Form, JobNeed, Ladder, Plan, Rung, Stage, StageOption
from partwise.vram.precision import QUANTIZED
from partwise.xpart.config import XPartConfig
from partwise.xpart.cost import (
    Option,
    condition_options,
    decode_options,
    sample_options,
    unpacked_bytes,
)
from partwise.xpart.precision import quality_words
from partwise.xpart.settings import XPartSettings
from studio.catalog import XPART, Engines, find_model
from studio.xpart_models import BLOCKS, EXPERTS, streamed_weight_bytes, weight_bytes

_STAGES = {
    CONDITION: ("Looking at the parts", CONDITIONER),
    SAMPLE: ("Denoising", DIT),
    DECODE: ("Decoding", VAE),
}
_PUBLISHED = "bf16"  # what the files hold and the authors compute in
_RUNGS = {"fp16": Rung.SIXTEEN_BIT, "int8": Rung.EIGHT_BIT, "int4": Rung.FOUR_BIT}
_READ_BYTES_S = 1e9  # of a disk that is not slow, for comparing plans
_SEND_BYTES_S = {BLOCKS: 20e9, EXPERTS: 8e9}  # to a GPU: page-locked, or from the file
_SMALL_BATCH = 0.3  # a batch of one part takes so much longer than all parts at once
_OFFLOADED = 1.3
_UNHIDDEN = 0.1  # of computing, or of sending if that takes less: they do not overlap as a whole
_LIBRARY = "bitsandbytes"
_ADVICE = "Generate fewer parts at once, or merge some."


@dataclass(frozen=True)
class Run:
    """A run to be planned."""

    part_count: int
    settings: XPartSettings
    config: XPartConfig


def need_of(run: Run, engines: Engines) -> JobNeed:
    """All ways to run; predictions are corrected by what was measured here before."""
    device = engines.memory.device.read()
    forms = [_Builder(run, engines, *way).form() for way in _ways(engines, is_gpu=device.is_gpu)]
    count = run.part_count
    title = f"{find_model(XPART).title}, {count} {'part' if count == 1 else 'parts'}"
    return JobNeed(title, tuple(forms), _ADVICE)


def note_pace(run: Run, engines: Engines, seconds: Mapping[str, float], *, is_on_gpu: bool) -> None:
    """Learn from a run how long each stage takes here."""
    for stage in _STAGES:
        flops = _options(stage, run, _PUBLISHED, is_gpu=is_on_gpu)[0].flops
        engines.xpart_pace.note(stage, flops, seconds[stage], is_on_gpu=is_on_gpu)


def plan_now(engines: Engines, run: Run) -> Plan | None:
    """How a run would go now; None where nobody can tell."""
    return engines.memory.plan(need_of(run, engines))


def seconds_of(run: Run, engines: Engines, *, is_on_gpu: bool) -> float:
    """About how long a run takes, loading left out."""
    makers = _Builder(run, engines, Rung.WHOLE, _PUBLISHED, "", is_on_gpu)
    return sum(min(option.seconds for option in stage.options) for stage in makers.stages())


def waiting_bytes(run: Run) -> int:
    """What the host holds of skips when these wait there."""
    dit, tokens = run.config.dit, 1 + run.config.vae.num_latents
    return EXACT * run.part_count * (dit.depth // 2) * tokens * dit.hidden_size


def _ways(engines: Engines, *, is_gpu: bool) -> Iterator[tuple[Rung, str, str, bool]]:
    """Rung, precision, what is streamed, whether on the GPU; the better result first."""
    pinned = engines.memory.control.preferences().precision
    first = pinned if pinned not in (None, *QUANTIZED) else _PUBLISHED
    yield _RUNGS.get(first, Rung.WHOLE), first, "", is_gpu
    for kind in (BLOCKS, EXPERTS) if is_gpu else (EXPERTS,):
        yield _RUNGS.get(first, Rung.STREAMED), first, kind, is_gpu
    for precision in QUANTIZED:
        if importlib.util.find_spec(_LIBRARY) is not None:
            yield _RUNGS[precision], precision, "", is_gpu
    if is_gpu:
        yield Rung.CPU, first, EXPERTS, False


@dataclass(frozen=True)
class _Builder:
    """Makes one form."""

    run: Run
    engines: Engines
    rung: Rung
    precision: str
    streaming: str
    is_gpu: bool

    def form(self) -> Form:
        """The form; a component that is streamed takes what is on the device at one moment."""
        folder = self.engines.weights_dir
        sizes = {
            name: weight_bytes(folder, name, self.precision) or 0 for _, name in _STAGES.values()
        }
        kept = self.engines.manager.host_weights()
        held = dict(sizes)
        if self.streaming:
            size = streamed_weight_bytes(
                folder, self.precision, self.streaming, is_on_gpu=self.is_gpu
            )
            held[DIT] = size or 0
        needed = {n: size for n, size in sizes.items() if kept.get(n, 0) < size}
        if self.streaming:
            needed.pop(DIT, None)  # mapped where the host has no room
        return Form(
            rung=self.rung,
            precision=self.precision,
            weight_bytes=held,
            host_bytes=sum(needed.values()),
            load_seconds={name: size / _READ_BYTES_S for name, size in held.items()},
            stages=self.stages(),
            quality=quality_words(self.precision) if self.precision in _RUNGS else "",
            streaming=self.streaming,
        )

    def stages(self) -> tuple[Stage, ...]:
        """The three stages with their options."""
        return tuple(
            Stage(
                name,
                title,
                component,
                tuple(self._option(name, component, option) for option in self._options(name)),
            )
            for name, (title, component) in _STAGES.items()
        )

    def _options(self, stage: str) -> tuple[Option, ...]:
        options = _options(stage, self.run, self.precision, is_gpu=self.is_gpu)
        if stage != SAMPLE or self._may_wait_on_host():
            return options
        return tuple(option for option in options if not option.knobs["is_offloaded"])

    def _may_wait_on_host(self) -> bool:
        """Whether skips may leave the GPU, which costs more time than sending all the weights."""
        memory = self.engines.memory
        wanted = memory.control.preferences()
        has_no_other = wanted.rung is not None or wanted.ladder is Ladder.QUANTIZED
        if not (self.streaming or self.precision in QUANTIZED or has_no_other):
            return False
        return memory.host.read().available_bytes >= waiting_bytes(self.run)

    def _option(self, stage: str, component: str, option: Option) -> StageOption:
        factor = self.engines.memory.peaks.factor(component, stage, self.precision)
        peak = round(option.size.peak_bytes * factor)
        if self.precision in QUANTIZED and component == DIT:
            peak += unpacked_bytes(self.run.config, self.precision)
        seconds = self.engines.xpart_pace.seconds_for(stage, option.flops, is_on_gpu=self.is_gpu)
        seconds *= _slowness(option.knobs, self.run.part_count)
        if stage == SAMPLE and self.streaming and self.is_gpu:  # sent while the one before computes
            hidden = min(seconds, self._sending_s())
            seconds += self._sending_s() - (1 - _UNHIDDEN) * hidden
        return StageOption(option.knobs, peak, option.size.largest_bytes, seconds)

    def _sending_s(self) -> float:
        size = weight_bytes(self.engines.weights_dir, DIT, self.precision) or 0
        return self.run.settings.model_calls * size / _SEND_BYTES_S[self.streaming]


def _options(stage: str, run: Run, precision: str, *, is_gpu: bool) -> tuple[Option, ...]:
    """The ways to run a stage, the fastest first; precision: of the weights."""
    settings, products = run.settings, PRODUCTS.get(precision, _PUBLISHED)
    if stage == CONDITION:
        return condition_options(run.config, run.part_count, products, is_gpu=is_gpu)
    if stage == SAMPLE:
        return sample_options(run.config, run.part_count, settings.steps, products, is_gpu=is_gpu)
    return decode_options(
        run.config,
        run.part_count,
        settings.octree_resolution,
        settings.decoding,
        products,
        is_gpu=is_gpu,
    )


def _slowness(knobs: Mapping[str, int], part_count: int) -> float:
    """What small batches cost, for comparing: 1 is all at once."""
    factor = 1.0
    for name, whole in (("part_batch", part_count), ("point_chunk", 2**14), ("query_chunk", 2**15)):
        if name in knobs:
            factor += _SMALL_BATCH * max(0.0, whole / max(1, knobs[name]) - 1) / whole
    return factor * (_OFFLOADED if knobs.get("is_offloaded") else 1.0)
