from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from partwise.vram.attribution import device_shares, host_shares
from partwise.vram.readings import AllocatorMemory, HostReading
from tests.vram.fakes import CPU, GIB, gpu

SIZES = st.integers(0, 80 * GIB)
WEIGHTS = st.dictionaries(st.sampled_from(["p3sam", "xpart", "other"]), SIZES)


@given(SIZES, SIZES, SIZES, SIZES, SIZES, st.none() | SIZES, WEIGHTS)
def test_the_shares_of_a_device_add_up_whatever_was_read(
    total: int,
    used: int,
    free: int,
    allocated: int,
    reserved: int,
    context: int | None,
    weights: dict[str, int],
) -> None:
    reading = replace(
        gpu(),
        total_bytes=total,
        used_bytes=used,
        free_bytes=free,
        allocator=AllocatorMemory(allocated, reserved),
        context_bytes=context,
    )
    shares = device_shares(reading, weights)
    assert shares is not None
    assert shares.total_bytes == total
    known = [shares.activations_bytes, shares.cache_bytes, shares.driver_bytes, shares.free_bytes]
    assert min([*known, *shares.weights.values(), shares.unattributed_bytes]) >= 0


@given(SIZES, SIZES, SIZES, SIZES, WEIGHTS)
def test_the_shares_of_the_host_add_up_whatever_was_read(
    total: int, available: int, app: int, workers: int, weights: dict[str, int]
) -> None:
    reading = HostReading(total, min(available, total), app, workers, 1, 0, 0)
    shares = host_shares(reading, weights)
    assert shares.total_bytes == total
    parts = [shares.app_bytes, shares.worker_bytes, shares.others_bytes, shares.free_bytes]
    assert min([*parts, *shares.weights.values()]) >= 0


def test_each_share_is_what_its_name_says() -> None:
    shares = device_shares(gpu(), {"p3sam": 1 * GIB})
    assert shares is not None
    assert shares.weights == {"p3sam": 1 * GIB}
    assert shares.activations_bytes == 2 * GIB  # 3 allocated, 1 of them weights
    assert shares.cache_bytes == GIB // 2  # 3.5 reserved
    assert shares.context_bytes == GIB // 2
    assert shares.others_bytes == 2 * GIB  # 6 used, 4 of them ours
    assert shares.driver_bytes == GIB // 2  # 24 in all, 6 used, 17.5 free


def test_a_hidden_process_list_leaves_context_and_others_unknown() -> None:
    shares = device_shares(gpu(context=None), {})
    assert shares is not None
    assert (shares.context_bytes, shares.others_bytes) == (None, None)
    assert shares.unattributed_bytes == int(2.5 * GIB)


def test_a_device_without_a_total_has_no_shares() -> None:
    assert device_shares(CPU, {}) is None
    assert device_shares(gpu(used=None), {}) is None
