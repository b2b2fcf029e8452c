"""The simulated GPU: real torch code meets its limits, and its readings always add up."""

import gc
import os
import re
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from partwise.vram.attribution import device_shares
from partwise.vram.readings import AllocatorMemory, DeviceKind
from partwise.vram.simulated import Failures, SimulatedDevice
from tests.vram.fakes import GIB, FakeClock

MIB = 2**20
ROOT = Path(__file__).parents[2]


def _device(capacity: int = 128 * MIB, **more: object) -> SimulatedDevice:
    return SimulatedDevice(capacity, **{"context_bytes": 8 * MIB, **more})  # type: ignore[arg-type]


def _floats(byte_count: int) -> Tensor:
    return torch.zeros(byte_count // 4)


def _allocator(device: SimulatedDevice) -> AllocatorMemory:
    allocator = device.read().allocator
    assert allocator is not None
    return allocator


def _allocated(device: SimulatedDevice) -> int:
    return _allocator(device).allocated_bytes


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("allocate"), st.integers(0, 40 * MIB)),
        st.tuples(st.just("free"), st.integers(0, 1000)),
        st.tuples(st.just("others"), st.integers(0, 200 * MIB)),
        st.tuples(st.just("budget"), st.none() | st.integers(0, 150 * MIB)),
        st.tuples(st.just("give back"), st.just(0)),
    ),
    max_size=40,
)
WEIGHTS = st.dictionaries(st.sampled_from(["p3sam", "xpart"]), st.integers(0, 60 * MIB))


def _take(device: SimulatedDevice, handles: list[int], what: str, number: int | None) -> None:
    if what == "allocate":
        try:
            handles.append(device.allocate(number or 0))
        except torch.OutOfMemoryError:
            return
    elif what == "free" and handles:
        device.free(handles.pop((number or 0) % len(handles)))
    elif what == "others":
        device.others(number or 0)
    elif what == "budget":
        device.set_budget(number)
    elif what == "give back":
        device.give_back()


@given(STEPS, WEIGHTS, st.integers(0, 2**32))
def test_readings_and_shares_add_up_whatever_happens(
    steps: list[tuple[str, int | None]], weights: dict[str, int], seed: int
) -> None:
    device, handles = _device(failures=Failures(probability=0.1, seed=seed)), list[int]()
    for step in steps:
        _take(device, handles, *step)
        reading = device.read()
        assert reading.used_bytes is not None
        assert reading.free_bytes is not None
        assert reading.used_bytes + reading.free_bytes == reading.total_bytes == 128 * MIB
        assert reading.free_bytes >= 0
        for known in (reading, replace(reading, context_bytes=None)):
            shares = device_shares(known, weights)
            assert shares is not None
            assert shares.total_bytes == reading.total_bytes
            parts = [shares.activations_bytes, shares.cache_bytes, shares.unattributed_bytes]
            assert min([*parts, *shares.weights.values(), shares.others_bytes or 0]) >= 0


@given(STEPS)
def test_what_other_programs_hold_is_told_to_the_byte(steps: list[tuple[str, int | None]]) -> None:
    device, handles, others = _device(), list[int](), 0
    for what, number in steps:
        if what == "others":
            others = device.others(number or 0)
        else:
            _take(device, handles, what, number)
        shares = device_shares(device.read(), {})
        assert shares is not None
        assert shares.others_bytes == others
        listed = device.processes()
        assert listed is not None
        assert sum(process.used_bytes or 0 for process in listed) == device.read().used_bytes


@given(STEPS)
def test_no_allocation_passes_the_budget(steps: list[tuple[str, int | None]]) -> None:
    device, handles = _device(), list[int]()
    for what, number in steps:
        before = _held(device)
        _take(device, handles, what, number)
        budget = device.read().budget_bytes
        if what == "allocate" and budget is not None:
            assert _held(device) <= max(before, budget)


def _held(device: SimulatedDevice) -> int:
    return (device.read().context_bytes or 0) + (device.own_bytes() or 0)


def test_an_untouched_card_holds_nothing_of_ours() -> None:
    device = _device()
    reading = device.read()
    assert (reading.kind, reading.is_simulated) == (DeviceKind.CUDA, True)
    assert (reading.context_bytes, reading.used_bytes, device.processes()) == (0, 0, ())


def test_the_context_comes_with_the_first_upload_and_stays() -> None:
    device = _device()
    placed = device.upload(_floats(MIB))
    assert device.read().context_bytes == 8 * MIB
    del placed
    device.give_back()
    assert (device.read().used_bytes, device.own_bytes()) == (8 * MIB, 0)


def test_an_upload_is_charged_as_long_as_a_view_of_it_lives() -> None:
    device, slab = _device(), _floats(4 * MIB)
    placed = device.upload(slab)
    view = nn.Parameter(placed[: MIB // 4].view(-1, 4))
    del placed
    assert torch.equal(view[0], slab[:4])
    assert _allocated(device) == 4 * MIB
    del view
    assert _allocated(device) == 0


def test_what_torch_makes_in_the_block_is_charged_and_its_peak_is_kept() -> None:
    device, points = _device(), _floats(8 * MIB)
    with device.computing():
        total = (points + 1).sum()
    assert total == 2 * MIB
    assert _allocator(device).peak_allocated_bytes == 8 * MIB + 512
    assert _allocated(device) == 512


def test_a_result_is_charged_beyond_the_block_until_it_dies() -> None:
    device, points = _device(), _floats(8 * MIB)
    with device.computing():
        result = points + 1
    gc.collect()  # takes the meter, were it not kept
    assert _allocated(device) == 8 * MIB
    del result
    assert _allocated(device) == 0


def test_an_upload_within_the_block_is_charged_once() -> None:
    device, slab = _device(), _floats(4 * MIB)
    with device.computing(), device.computing():
        placed = device.upload(slab)
        assert _allocated(device) == 4 * MIB
    del placed
    assert _allocated(device) == 0


def test_running_out_is_torchs_error_in_torchs_words_and_leaves_nothing() -> None:
    device, points = _device(), _floats(50 * MIB)
    with pytest.raises(torch.OutOfMemoryError) as caught, device.computing():
        torch.stack([points + 1, points + 2]).sum()
    caught.match(
        re.escape("CUDA out of memory. Tried to allocate 100.00 MiB. GPU 0 has a total capacity of")
    )
    del caught
    gc.collect()
    assert _allocated(device) == 0
    device.give_back()
    assert device.own_bytes() == 0


def test_a_card_without_room_for_the_context_is_out_of_memory() -> None:
    device = _device(8 * MIB - 1)
    with pytest.raises(torch.OutOfMemoryError):
        device.upload(_floats(4))
    assert device.read().used_bytes == 0


def test_other_programs_take_what_is_free_and_no_more() -> None:
    device = _device()
    placed = device.upload(_floats(20 * MIB))
    assert device.others(GIB) == 100 * MIB
    assert device.read().free_bytes == 0
    with pytest.raises(torch.OutOfMemoryError):
        device.upload(_floats(4 * MIB))
    device.others(0)
    assert device.upload(_floats(4 * MIB)).numel() == MIB
    assert placed.numel() == 5 * MIB


def test_a_budget_is_enforced_from_now_on_and_can_be_lifted() -> None:
    device = _device()
    device.set_budget(30 * MIB)
    placed = device.upload(_floats(20 * MIB))
    with pytest.raises(torch.OutOfMemoryError, match=r"30\.00 MiB allowed"):
        device.upload(_floats(20 * MIB))
    device.set_budget(None)
    assert device.upload(placed).numel() == placed.numel()


def test_a_smaller_budget_takes_the_cache_at_once() -> None:
    device = _device()
    del (placed := [device.upload(_floats(20 * MIB))])[:]
    assert (device.own_bytes(), placed) == (20 * MIB, [])
    device.set_budget(10 * MIB)
    assert device.own_bytes() == 0


def _fates(failures: Failures, count: int = 40) -> list[bool]:
    device = _device(failures=failures)
    fates = []
    for _ in range(count):
        try:
            device.free(device.allocate(512))
        except torch.OutOfMemoryError:
            fates.append(False)
        else:
            fates.append(True)
    return fates


def test_the_allocations_that_are_named_fail() -> None:
    assert _fates(Failures(at=frozenset({1, 4})), 6) == [False, True, True, False, True, True]


@given(st.integers(0, 2**32))
def test_the_same_seed_fails_at_the_same_allocations(seed: int) -> None:
    drawn = Failures(probability=0.5, seed=seed)
    assert _fates(drawn) == _fates(drawn)


def test_half_of_the_allocations_fail_when_so_drawn() -> None:
    fates = _fates(Failures(probability=0.5, seed=1), 1000)
    assert 400 < sum(fates) < 600


def test_a_stage_fails_as_often_as_said_and_others_do_not() -> None:
    device = _device()
    device.fail(Failures(stages={"decode": 2}))
    device.enter_stage("encode")
    device.free(device.allocate(512))
    device.enter_stage("decode")
    for _ in range(2):
        with pytest.raises(torch.OutOfMemoryError):
            device.allocate(512)
    device.free(device.allocate(512))
    assert _allocated(device) == 0


def test_an_upload_takes_its_time_and_settling_waits_for_the_rest() -> None:
    clock, slept = FakeClock(), list[float]()
    device = _device(bandwidth=4.0 * MIB, clock=clock, sleep=slept.append)
    device.upload(_floats(4 * MIB))
    device.upload(_floats(4 * MIB))
    clock.now += 0.5
    device.settle()
    clock.now += 1.5
    device.settle()
    assert slept == [pytest.approx(1.5)]


def test_threads_compute_side_by_side_and_nothing_is_left() -> None:
    device, errors = _device(GIB), list[BaseException]()

    def compute(seed: int) -> None:
        try:
            for i in range(20):
                slab = device.upload(_floats(MIB + seed * 512))
                with device.computing():
                    assert (slab * 2 + i).sum() == i * slab.numel()
                device.read()
        except BaseException as err:
            errors.append(err)

    threads = [threading.Thread(target=compute, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert errors == []
    assert _allocated(device) == 0
    device.give_back()
    assert device.own_bytes() == 0


def test_a_collection_in_the_midst_of_an_allocation_frees_without_waiting() -> None:
    device = _device(GIB)
    usual = gc.get_threshold()
    gc.set_threshold(1)
    try:
        for _ in range(50):
            holder: list[object] = [device.upload(_floats(MIB))]
            holder.append(holder)  # only a collection can find it
            del holder
            with device.computing():
                torch.ones(1000) + 1
    finally:
        gc.set_threshold(*usual)
    gc.collect()
    assert _allocated(device) == 0


def test_this_process_and_the_others_are_listed() -> None:
    device = _device()
    placed = device.upload(_floats(20 * MIB))
    device.others(MIB)
    listed = device.processes()
    assert listed is not None
    assert [(p.is_ours, p.used_bytes) for p in listed] == [(True, 28 * MIB), (False, MIB)]
    assert listed[0].pid == os.getpid()
    assert placed.numel() == 5 * MIB


def test_a_card_needs_a_size() -> None:
    with pytest.raises(ValueError, match="capacity_bytes is 0"):
        SimulatedDevice(0)


def test_reading_it_imports_no_torch() -> None:
    code = (
        "import sys; from partwise.vram.device import find_device;"
        "from partwise.vram.settings import VramSettings;"
        "d = find_device(VramSettings(simulated_gib=8)); d.set_budget(2**30); d.read();"
        "d.own_bytes(); d.processes(); d.settle(); d.give_back();"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"
