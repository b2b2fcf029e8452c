"""What is said of memory: true to the figures, the most useful advice first, in plain sentences."""

from dataclasses import replace

import pytest

from partwise.vram.plan import Plan, PlanLine, Rung, StagePlan
from partwise.vram.readings import (
    ComponentState,
    ComponentStatus,
    DeviceKind,
    DeviceReading,
    DeviceShares,
    Fragmentation,
    GpuProcess,
    HostReading,
    HostShares,
    ManagerStatus,
    MemoryReading,
)
from studio.diagnosis import Alternative, ServerWords, Surroundings, diagnose

GIB, MIB = 2**30, 2**20
GPU = DeviceReading(
    DeviceKind.CUDA,
    "RTX 4070",
    "",
    index=0,
    total_bytes=12 * GIB,
    used_bytes=9 * GIB,
    free_bytes=3 * GIB,
)
CPU = DeviceReading(DeviceKind.CPU, "CPU", "No GPU here; Partwise runs on the CPU.")
HOST = HostReading(32 * GIB, 20 * GIB, 1 * GIB, 2 * GIB, 2, 0, 8 * GIB)
SHARES = DeviceShares(
    weights={"p3sam": 1 * GIB},
    activations_bytes=0,
    cache_bytes=2 * GIB,
    context_bytes=GIB // 2,
    others_bytes=5 * GIB,
    unattributed_bytes=0,
    driver_bytes=GIB // 2,
    free_bytes=3 * GIB,
)
HOST_SHARES = HostShares(
    weights={},
    app_bytes=1 * GIB,
    worker_bytes=2 * GIB,
    others_bytes=9 * GIB,
    free_bytes=20 * GIB,
)
ON_GPU = MemoryReading(0.0, GPU, HOST, SHARES, HOST_SHARES)
ON_CPU = MemoryReading(0.0, CPU, HOST, None, replace(HOST_SHARES, weights={"p3sam": GIB}))
P3SAM = ComponentStatus(
    "p3sam", "P3-SAM", ComponentState.LOADED, 0, 1 * GIB, idle_s=12.0, precision="fp32"
)
STATUS = ManagerStatus((P3SAM,), 300.0)
ALONE = Surroundings()


def plan_of(
    peak_gib: float, *, fits: bool = True, seconds: float = 20, rung: Rung = Rung.WHOLE, quality=""
) -> Plan:  # type: ignore[no-untyped-def]
    peak, room = int(peak_gib * GIB), int(3 * GIB)
    stage = StagePlan("masks", "Masks", "p3sam", {"prompt_batch": 8}, peak // 2, peak, seconds)
    return Plan(
        job="segment",
        rung=rung,
        precision="fp32",
        is_on_gpu=rung is not Rung.CPU,
        is_staged=False,
        stages=(stage,),
        evict=(),
        lines=(PlanLine("P3-SAM", "weights", peak),),
        peak_bytes=peak,
        room_bytes=max(room, peak) if fits else room,
        seconds=seconds,
        quality=quality,
        fits=fits,
    )


def said(
    reading: MemoryReading = ON_GPU,
    plan: Plan | None = None,
    *alternatives: Alternative,
    status: ManagerStatus = STATUS,
    around: Surroundings = ALONE,
) -> str:
    return diagnose(reading, status, plan, alternatives, around)


def test_the_largest_holder_comes_first_and_the_shares_are_all_there() -> None:
    lines = said().splitlines()
    start = lines.index("What holds it, largest first:") + 1
    rows = [line.split(maxsplit=2) for line in lines[start : start + 5]]
    sizes = [float(row[0]) for row in rows]
    assert sizes == sorted(sizes, reverse=True)
    assert sum(sizes) == pytest.approx(9.0)
    assert rows[0][2] == "other programs"
    assert "weights of P3-SAM" in said()


def test_without_a_gpu_it_speaks_of_the_machine_s_memory() -> None:
    text = said(ON_CPU)
    assert "on the CPU, in the machine's own memory: 32.00 GiB, of which 20.00 GiB are free" in text
    assert "1.00 GiB  weights of P3-SAM" in text
    assert "driver" not in text


def test_other_programs_are_listed_with_their_bytes_and_ours_are_not() -> None:
    processes = (
        GpuProcess(10, "python", GIB, is_ours=True),
        GpuProcess(11, "browser", GIB // 2, is_ours=False),
        GpuProcess(12, "blender", 4 * GIB, is_ours=False),
        GpuProcess(13, "secret", None, is_ours=False),
    )
    text = said(around=Surroundings(processes=processes))
    assert text.index("4.00 GiB  blender (process 12)") < text.index("0.50 GiB  browser")
    assert "unknown  secret (process 13)" in text
    assert "process 10" not in text


def test_a_driver_that_does_not_tell_is_not_an_idle_gpu() -> None:
    assert "does not tell which other programs" in said(around=Surroundings(processes=None))
    assert "No other program holds" in said(around=Surroundings(processes=()))


def test_memory_that_nobody_can_attribute_is_called_so() -> None:
    hidden = replace(SHARES, others_bytes=None, context_bytes=None, unattributed_bytes=6 * GIB)
    assert "6.00 GiB  in use; the driver does not say by whom" in said(
        replace(ON_GPU, shares=hidden)
    )
    unknown = replace(ON_GPU, device=replace(GPU, total_bytes=None), shares=None)
    assert "is not known" in said(unknown)


def test_for_a_job_that_does_not_fit_the_cheapest_setting_that_makes_it_fit_is_named() -> None:
    text = said(
        ON_GPU,
        plan_of(8, fits=False),
        Alternative("8-bit weights", plan_of(2, seconds=5, quality="labels may differ a little.")),
        Alternative("the preset low_vram", plan_of(2.5, seconds=9)),
        Alternative("the preset preview", plan_of(1, seconds=15)),
        Alternative("the CPU", plan_of(4, seconds=4, rung=Rung.CPU)),
        Alternative("16-bit weights", plan_of(5, fits=False)),
    )
    assert "What would help most: the preset low_vram. Then the job takes 2.50 GiB in place of" in (
        text
    )
    assert "8-bit" not in text


def test_a_setting_that_makes_room_tells_how_much_and_not_the_same_size_twice() -> None:
    roomier = replace(plan_of(8), room_bytes=int(9.5 * GIB))
    text = said(ON_GPU, plan_of(8, fits=False), Alternative("no budget", roomier))
    assert "no budget. Then the job takes 8.00 GiB and fits in the 9.50 GiB that it" in text


def test_without_a_plan_it_says_why_nothing_can_be_told_of_the_next_job() -> None:
    why = "P3-SAM: weights not present."
    text = diagnose(ON_GPU, STATUS, None, (), ALONE, why_no_plan=why)
    assert f"What the next job needs cannot be told. {why}" in text


def test_a_simulated_gpu_is_called_so_once_and_no_driver_is_blamed() -> None:
    device = replace(ON_GPU.device, sentence="This GPU is simulated.", is_simulated=True)
    text = said(replace(ON_GPU, device=device), plan_of(1))
    assert text.count("simulated.") == 1
    assert "driver does not tell" not in text


def test_a_price_in_quality_is_told_with_the_advice() -> None:
    cheaper = Alternative("8-bit weights", plan_of(2, quality="labels may differ a little."))
    assert "at a price: labels may differ a little.\n" in said(
        ON_GPU, plan_of(8, fits=False), cheaper
    )


def test_when_no_setting_makes_it_fit_the_nearest_is_named_with_what_is_missing() -> None:
    text = said(
        ON_GPU,
        plan_of(9, fits=False),
        Alternative("the preset low_vram", plan_of(5, fits=False)),
        Alternative("16-bit weights", plan_of(7, fits=False)),
        around=Surroundings(processes=(GpuProcess(12, "blender", 4 * GIB, is_ours=False),)),
    )
    assert "The nearest is the preset low_vram: 2.00 GiB are missing then, in place of 6.00" in text
    assert "Closing blender (process 12) would free 4.00 GiB" in text


def test_for_a_job_that_fits_the_saving_of_memory_and_of_time_are_told_apart() -> None:
    text = said(
        ON_GPU,
        plan_of(3, seconds=20),
        Alternative("the preset low_vram", plan_of(1, seconds=19)),
        Alternative("a budget of 12 GiB", plan_of(6, seconds=8)),
    )
    assert (
        "save most memory: the preset low_vram. Then the job takes 1.00 GiB in place of 3" in text
    )
    assert (
        "save most time: a budget of 12 GiB. Then the job takes about 8 s in place of 20 s" in text
    )


def test_a_setting_that_changes_nothing_is_no_advice() -> None:
    text = said(ON_GPU, plan_of(3), Alternative("the ladder exact", plan_of(3)))
    assert "the ladder exact" not in text


def test_a_job_on_the_cpu_for_lack_of_room_is_helped_back_to_the_gpu() -> None:
    text = said(
        ON_GPU,
        plan_of(4, rung=Rung.CPU, seconds=300),
        Alternative("the preset low_vram", plan_of(2.5)),
    )
    assert (
        "What would help most: the preset low_vram. Then the job takes 2.50 GiB of the GPU" in text
    )


def test_idle_models_and_cache_can_be_given_back_but_nothing_in_use() -> None:
    assert "Unloading what is idle gives back about 3.00 GiB" in said()
    in_use = ManagerStatus((replace(P3SAM, lease_count=1),), 300.0)
    without_cache = replace(ON_GPU, shares=replace(SHARES, cache_bytes=0))
    assert "Unloading" not in said(without_cache, status=in_use)


def test_fragments_are_told_only_when_they_matter() -> None:
    def with_pieces(free: int, largest: int) -> MemoryReading:
        pieces = Fragmentation(free, largest, 40, free // 2)
        return replace(ON_GPU, device=replace(GPU, fragmentation=pieces))

    assert "in 40 pieces of which the largest has 0.25 GiB" in said(with_pieces(2 * GIB, GIB // 4))
    assert "pieces" not in said(with_pieces(2 * GIB, 2 * GIB))
    assert "pieces" not in said(with_pieces(100 * MIB, 1 * MIB))


def test_a_machine_that_swaps_a_full_one_and_a_container_are_told() -> None:
    low = replace(ON_GPU, host=replace(HOST, available_bytes=GIB // 2, swap_total_bytes=0))
    around = Surroundings(swap_bytes_per_s=50.0 * MIB, machine_bytes=64 * GIB)
    text = said(low, around=around)
    assert "moves 50 MiB a second" in text
    assert "nearly full: 0.50 GiB of 32.00 GiB are free" in text
    assert "setup_swap_file.sh" in text
    assert "container may use 32.00 GiB of the machine's 64.00 GiB" in text
    calm = said(around=Surroundings(swap_bytes_per_s=0.0, machine_bytes=32 * GIB))
    for word in ("second", "nearly full", "container may"):
        assert word not in calm


def test_conflicts_and_servers_are_told() -> None:
    servers = (
        ServerWords("http://127.0.0.1:7860", 5, "0.1.0"),
        ServerWords("http://127.0.0.1:7861", 6, "0.1.0", "it does not answer"),
    )
    text = said(around=Surroundings(servers=servers, conflicts=("A and B exclude each other.",)))
    assert "(process 5) is running." in text
    assert "(process 6) is stale: it does not answer." in text
    assert "memory --free" in text
    assert "A and B exclude each other." in text


@pytest.mark.parametrize("reading", [ON_GPU, ON_CPU])
@pytest.mark.parametrize("plan", [None, plan_of(3), plan_of(9, fits=False)])
def test_it_is_text_for_a_person_whatever_is_unknown(
    reading: MemoryReading, plan: Plan | None
) -> None:
    away = ManagerStatus((ComponentStatus("xpart", "X-Part", ComponentState.PARKED),), 0.0)
    text = said(reading, plan, status=away)
    assert "None" not in text
    assert "Rung" not in text
    assert "\n\n\n" not in text
