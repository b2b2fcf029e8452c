"""P3-SAM's rows of the README's table, from the result files of `benchmarks/p3sam.py`."""

from collections.abc import Callable, Iterator
from functools import partial

from benchmarks.common import Payload

MANY, FEW = 100_000, 30_000  # points that the rows are about
PROMPTS = (1, 32, 400)
PRESETS = ("preview", "low_vram", "balanced", "quality")
_BUDGETS = (2, 4, 8, None)

Reader = Callable[[Payload], str]


def rows() -> Iterator[tuple[str, Reader]]:
    """Each row's label, and what reads its cell from a payload; `KeyError` = not measured."""
    yield f"encode, {_spaced(MANY)} / {_spaced(FEW)} points", _encode
    for points in (MANY, FEW):
        label = f"heads, a prompt, {_spaced(points)} points: fp32 / bf16"
        yield label, partial(_heads, points)
    yield f"all prompts, {_spaced(MANY)} points: fp32 / bf16 (computed)", _all_prompts
    yield f"prepare / label faces, {_spaced(MANY)} points", _around
    prompts = " / ".join(map(str, PROMPTS))
    yield f"heads' scratch, {_spaced(MANY)} points: {prompts} prompts", partial(_scratch, MANY)
    yield f"heads' scratch, {_spaced(FEW)} points: {prompts} prompts", partial(_scratch, FEW)
    yield f"peak of the process, {_spaced(MANY)} points", _peak
    for preset in PRESETS:
        yield f"whole job, {preset.replace('_', ' ')}: fp32 / bf16", partial(_job, preset)
    yield "load: memory for each byte of weights; time beside a plain read", _loading
    for budget in _BUDGETS:
        label = f"GPU, {f'{budget} GiB' if budget else 'no budget'}, {_spaced(MANY)} points"
        yield label, partial(_budget, budget)


def note(payload: Payload) -> str:
    """What the figures are of, and those of the published implementation on another machine."""
    figures = payload["p3sam"]
    phases = next(iter(figures["phases"].values()))
    published = figures["published"]
    kind = "regenerated" if phases["is_regenerated"] else "given"
    units = ", ".join(payload["matrix_units"]) or "none"
    encode, heads = published["encode_s"], published["heads_s_a_prompt"]
    return (
        f"P3-SAM at full size, {kind} weights, a figure of {_spaced(phases['faces'])} faces; "
        f"16-bit matrix instructions: {units}. The published implementation, {published['machine']}"
        f": encode {encode[str(MANY)]} / {encode[str(FEW)]} s, heads {heads[str(MANY)]} / "
        f"{heads[str(FEW)]} s a prompt, about {published['whole_default_min']} min in all.  "
    )


def _spaced(count: int) -> str:
    return f"{count:,}".replace(",", " ")


def _phases(payload: Payload, points: int) -> Payload:
    found: Payload = payload["p3sam"]["phases"][str(points)]
    return found


def _encode(payload: Payload) -> str:
    each = [_phases(payload, points)["encode_with_upcast"] for points in (MANY, FEW)]
    fp32, bf16 = ([figures[kind]["s"] for figures in each] for kind in ("fp32", "bf16"))
    return f"{fp32[0]:.1f} / {fp32[1]:.1f} s (bf16 {bf16[0]:.1f} / {bf16[1]:.1f} s)"


def _heads(points: int, payload: Payload) -> str:
    heads = _phases(payload, points)["heads"]
    fp32, bf16, direct = heads["fp32"], heads["bf16"], heads["direct"]
    return (
        f"{fp32['s']:.2f} / {bf16['s']:.2f} s "
        f"({fp32['of_direct']:.2f} / {bf16['of_direct']:.2f} of an unsplit {direct['s']:.2f} s)"
    )


def _all_prompts(payload: Payload) -> str:
    phases = _phases(payload, MANY)
    totals = [phases["heads"][kind]["computed_total_s"] for kind in ("fp32", "bf16")]
    return f"{_duration(totals[0])} / {_duration(totals[1])} for {phases['prompts']}"


def _around(payload: Payload) -> str:
    phases = _phases(payload, MANY)
    labelling = phases["post_processing"]
    return (
        f"{phases['prepare']['s']:.1f} / {labelling['connected']['s']:.1f} s "
        f"({labelling['masks']} masks)"
    )


def _runs(payload: Payload, points: int) -> dict[int, Payload]:
    """The fp32 runs whose memory was taken, by number of prompts; `KeyError` if none."""
    runs = {
        run["prompts"]: run
        for run in payload["p3sam"]["memory"]["runs"]
        if run["points"] == points and run["precision"] == "fp32"
    }
    if not runs:
        raise KeyError(points)
    return runs


def _scratch(points: int, payload: Payload) -> str:
    runs = _runs(payload, points)
    sizes = [
        runs[count]["phases"]["heads"]["made_peak_mib"] if count in runs else None
        for count in PROMPTS
    ]
    return " / ".join("–" if size is None else f"{size:.0f}" for size in sizes) + " MiB"


def _peak(payload: Payload) -> str:
    runs = _runs(payload, MANY)
    most = max(runs)
    return f"{runs[most]['peak_mib'] / 1024:.1f} GiB ({most} prompts)"


def _job(preset: str, payload: Payload) -> str:
    jobs = payload["p3sam"]["presets"][preset]
    fp32, bf16 = jobs["fp32"], jobs["bf16"]
    peak_gib = max(fp32["peak_mib"], bf16["peak_mib"]) / 1024
    return f"{_duration(fp32['s'])} / {_duration(bf16['s'])}, peak {peak_gib:.1f} GiB"


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.1f} min"


def _loading(payload: Payload) -> str:
    figures = payload["p3sam"]["loading"]
    return f"{figures['growth_to_weights']:.2f}; {figures['load_to_read']:.2f}"


def _budget(budget_gib: int | None, payload: Payload) -> str:
    runs = payload["p3sam"]["budgets"]["runs"]
    return "; ".join(_budget_run(run) for run in runs if run["budget_gib"] == budget_gib)


def _budget_run(run: Payload) -> str:
    if run["outcome"] != "ran":
        return f"{run['precision']}: {run['outcome']}"
    phases = run["phases"]
    seconds = phases["load"]["s"] + phases["encode"]["s"] + phases["heads"]["s"]
    return (
        f"{run['precision']}: {seconds:.1f} s, {run['peak_reserved_mib'] / 1024:.1f} GiB reserved, "
        f"{run['agreement_with_cpu']['equal_mask_bits']:.4%} of the CPU's mask bits"
    )
