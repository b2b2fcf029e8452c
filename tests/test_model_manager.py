import threading
import time
import weakref
from collections.abc import Iterator

import pytest
import torch
from torch import nn

from partwise.core.errors import BusyError, Cancelled, EngineError, WeightsError
from partwise.core.progress import CancelToken
from partwise.vram.readings import ComponentState, EventKind
from tests.manager_support import WAIT_S, WEIGHT_BYTES, Bench, spin_until


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.manager.shutdown()


def test_registers_without_loading(bench: Bench) -> None:
    assert bench.built == []
    assert bench.loaded == set()


def test_loads_when_used_and_stays_loaded_afterwards(bench: Bench) -> None:
    with bench.manager.use("a") as lease:
        assert lease.module(torch.ones(1, 8)).shape == (1, 8)
        assert bench.leases("a") == 1
    assert bench.loaded == {"a"}
    assert bench.leases("a") == 0


def test_second_use_takes_the_same_module(bench: Bench) -> None:
    with bench.manager.use("a") as first, bench.manager.use("a") as second:
        assert first.module is second.module
        assert bench.leases("a") == 2
    assert len(bench.built) == 1


def test_counts_the_bytes_of_parameters_and_buffers(bench: Bench) -> None:
    with bench.manager.use("a"):
        assert bench.manager.resident_weights() == {"a": WEIGHT_BYTES}
    component = bench.manager.get_status().components[0]
    assert (component.weight_bytes, component.precision) == (WEIGHT_BYTES, "fp32")


def test_another_component_of_the_group_takes_the_idle_ones_place(bench: Bench) -> None:
    with bench.manager.use("a"):
        pass
    with bench.manager.use("b"):
        assert bench.loaded == {"b"}


def test_a_component_without_a_group_shares_with_everybody(bench: Bench) -> None:
    with bench.manager.use("a"), bench.manager.use("free"):
        assert bench.loaded == {"a", "free"}


def test_waits_while_another_component_is_in_use(bench: Bench) -> None:
    order: list[str] = []

    def take_b() -> None:
        with bench.manager.use("b"):
            order.append("b starts")

    with bench.manager.use("a"):
        thread = threading.Thread(target=take_b)
        thread.start()
        time.sleep(0.15)  # long enough for b to start, if it did not wait
        order.append("a ends")
    thread.join(WAIT_S)
    assert order == ["a ends", "b starts"]


def test_gives_up_waiting_at_the_deadline_and_says_who_is_in_the_way(bench: Bench) -> None:
    with bench.manager.use("a"):
        with pytest.raises(BusyError, match="A in use"), bench.manager.use("b", timeout_s=0.1):
            pass
        assert bench.loaded == {"a"}


def test_stops_waiting_when_cancelled(bench: Bench) -> None:
    cancel = CancelToken()
    with bench.manager.use("a"):
        timer = threading.Timer(0.1, cancel.cancel)
        timer.start()
        with pytest.raises(Cancelled), bench.manager.use("b", cancel=cancel, timeout_s=WAIT_S):
            pass
    timer.join()


def test_a_cancelled_token_loads_nothing(bench: Bench) -> None:
    cancel = CancelToken()
    cancel.cancel()
    with pytest.raises(Cancelled), bench.manager.use("a", cancel=cancel):
        pass
    assert bench.built == []


def test_missing_weights_refuse_with_their_sentence_and_evict_nothing(bench: Bench) -> None:
    bench.add("absent", why_unavailable=lambda: "weights not present: fetch them")
    with bench.manager.use("a"):
        pass
    with pytest.raises(WeightsError, match="fetch them"), bench.manager.use("absent"):
        pass
    assert bench.loaded == {"a"}
    assert bench.state("absent") is ComponentState.UNAVAILABLE


@pytest.mark.parametrize("error", [RuntimeError("out of memory"), KeyboardInterrupt(), OSError(5)])
def test_a_failed_load_leaves_nothing_and_may_be_tried_again(
    bench: Bench, error: BaseException
) -> None:
    attempts = []

    def build() -> nn.Module:
        attempts.append(1)
        if len(attempts) == 1:
            raise error
        return bench.build()

    bench.add("c", build)
    with pytest.raises(type(error)), bench.manager.use("c"):
        pass
    assert (bench.state("c"), bench.leases("c")) == (ComponentState.NOT_LOADED, 0)
    assert bench.events[-1].kind is EventKind.FAILED
    with bench.manager.use("c"):
        assert bench.loaded == {"c"}


def test_a_cancel_during_loading_leaves_nothing(bench: Bench) -> None:
    cancel = CancelToken()

    def build() -> nn.Module:
        cancel.cancel()
        return bench.build()

    bench.add("c", build)
    with pytest.raises(Cancelled), bench.manager.use("c", cancel=cancel):
        pass
    assert bench.loaded == set()
    assert bench.built[0]() is None


def test_an_error_in_the_block_gives_the_lease_back(bench: Bench) -> None:
    with pytest.raises(ZeroDivisionError), bench.manager.use("a"):
        raise ZeroDivisionError
    assert bench.leases("a") == 0
    with bench.manager.use("b"):
        assert bench.loaded == {"b"}


def test_a_lease_is_worth_nothing_after_its_block(bench: Bench) -> None:
    with bench.manager.use("a") as lease:
        pass
    with pytest.raises(RuntimeError, match="over"):
        _ = lease.module


def test_unload_never_takes_a_module_in_use(bench: Bench) -> None:
    with bench.manager.use("a") as lease:
        report = bench.manager.unload_all_models()
        assert report.in_use == ("a",)
        assert report.unloaded == ()
        assert lease.module.weight.device.type == "cpu"


def test_unload_waits_for_a_lease_to_end_when_asked_to(bench: Bench) -> None:
    entered = threading.Event()

    def work() -> None:
        with bench.manager.use("a"):
            entered.set()
            time.sleep(0.15)

    thread = threading.Thread(target=work)
    thread.start()
    assert entered.wait(WAIT_S)
    assert bench.manager.unload_all_models(wait_s=WAIT_S).unloaded == ("a",)
    thread.join(WAIT_S)


def test_unload_reports_bytes_and_lets_the_module_die(bench: Bench) -> None:
    with bench.manager.use("a"):
        pass
    report = bench.manager.unload_all_models()
    assert (report.unloaded, report.weight_bytes) == (("a",), WEIGHT_BYTES)
    assert report.before_bytes is not None
    assert bench.built[0]() is None
    assert bench.manager.unload_all_models().unloaded == ()


def test_unload_frees_the_weights_even_of_a_module_somebody_kept(bench: Bench) -> None:
    with bench.manager.use("a") as lease:
        kept = lease.module
    weight = weakref.ref(kept.weight)
    bench.manager.unload("a")
    assert weight() is None or weight().device.type == "meta"  # type: ignore[union-attr]
    assert kept.weight.device.type == "meta"


@pytest.mark.usefixtures("no_idle_thread")
def test_unloads_after_the_idle_time_and_not_before() -> None:
    bench = Bench(fake_time=True, idle_unload_s=300)
    with bench.manager.use("a"):
        bench.clock.now = 500.0  # type: ignore[attr-defined]
        assert bench.manager.unload_idle().unloaded == ()
    bench.clock.now = 799.0  # type: ignore[attr-defined]
    assert bench.manager.unload_idle().unloaded == ()
    bench.clock.now = 800.0  # type: ignore[attr-defined]
    assert bench.manager.unload_idle().unloaded == ("a",)
    bench.manager.shutdown()


def test_the_idle_thread_unloads_by_itself_and_again_after_a_second_load() -> None:
    bench = Bench(idle_unload_s=0.1)
    for _ in range(2):
        with bench.manager.use("a"):
            time.sleep(0.15)  # longer than the idle time, but in use
            assert bench.loaded == {"a"}
        spin_until(lambda: bench.loaded == set())
    bench.manager.shutdown()


def test_idle_time_zero_keeps_models_loaded() -> None:
    bench = Bench(idle_unload_s=0)
    with bench.manager.use("a"):
        pass
    assert bench.manager.unload_idle().unloaded == ()
    bench.manager.shutdown()


def test_events_tell_of_each_load_and_unload(bench: Bench) -> None:
    with bench.manager.use("a"):
        pass
    with bench.manager.use("b"):
        pass
    kinds = [(event.kind, event.subject, event.size_bytes) for event in bench.events]
    assert kinds == [
        (EventKind.LOAD, "A", WEIGHT_BYTES),
        (EventKind.UNLOAD, "A", WEIGHT_BYTES),
        (EventKind.LOAD, "B", WEIGHT_BYTES),
    ]


def test_an_unknown_name_is_refused_with_the_known_ones(bench: Bench) -> None:
    with pytest.raises(ValueError, match="a, b, free"), bench.manager.use("z"):
        pass
    with pytest.raises(ValueError, match="registered already"):
        bench.add("a")


def test_after_shutdown_nothing_loads_and_nothing_is_left(bench: Bench) -> None:
    with bench.manager.use("a"):
        pass
    bench.manager.shutdown()
    assert bench.loaded == set()
    with pytest.raises(EngineError), bench.manager.use("a"):
        pass


def test_shutdown_ends_those_who_wait(bench: Bench) -> None:
    ended = threading.Event()

    def wait_for_b() -> None:
        with pytest.raises(EngineError), bench.manager.use("b"):
            pass
        ended.set()

    with bench.manager.use("a"):
        thread = threading.Thread(target=wait_for_b)
        thread.start()
        time.sleep(0.1)
        bench.manager.shutdown()
        assert ended.wait(WAIT_S)
    thread.join(WAIT_S)


def test_the_documented_names_answer(bench: Bench) -> None:
    bench.add("p3sam")
    bench.add("xpart.dit")
    assert isinstance(bench.manager.get_p3sam_model(), nn.Module)
    pipeline = bench.manager.get_partformer_pipeline()
    assert not pipeline.is_loaded
    assert isinstance(pipeline.dit, nn.Module)
    assert bench.loaded == {"xpart.dit"}
