"""Down the tiers: from the device to the host, to the disk, to a process that ended."""

import threading
import time
from collections.abc import Callable, Iterator

import pytest
from torch import nn

from model_manager import ComponentSpec, ModelManager, Placement
from partwise.core.progress import CancelToken
from partwise.vram.component import LoadOrder
from partwise.vram.readings import ComponentState, EventKind, MemoryEvent
from partwise.vram.settings import VramSettings
from tests.manager_support import WAIT_S, WEIGHT_BYTES, Clock
from tests.vram.fake_runner import FakeRunner


class Tiers:
    """A manager whose components "a" and "b" stay on the host when they leave the device."""

    def __init__(self, **settings: float | bool) -> None:
        self.clock = Clock()
        self.runner = FakeRunner(keeps_on_host=True)
        self.events: list[MemoryEvent] = []
        self.orders: list[LoadOrder] = []
        self.manager = ModelManager(
            self.runner.device,
            VramSettings(**settings),  # type: ignore[arg-type]
            runner=self.runner,
            on_event=self.events.append,
            clock=self.clock,
        )
        for name in ("a", "b"):
            self.manager.register(ComponentSpec(name, name.upper(), self.build))

    def build(self, order: LoadOrder) -> nn.Module:
        self.orders.append(order)
        return nn.Linear(8, 8)

    def use(self, name: str, placement: Placement | None = None) -> None:
        with self.manager.use(name, placement):
            pass

    def state(self, name: str) -> ComponentState:
        return next(c.state for c in self.manager.get_status().components if c.name == name)

    def kinds(self) -> list[EventKind]:
        return [event.kind for event in self.events]


@pytest.fixture
def make() -> Iterator[Callable[..., Tiers]]:
    made: list[Tiers] = []

    def build(**settings: float | bool) -> Tiers:
        made.append(Tiers(**settings))
        return made[-1]

    yield build
    for tiers in made:
        tiers.manager.shutdown()


def _spin_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.002)


def test_an_idle_component_goes_to_the_host_then_to_the_disk(make: Callable[..., Tiers]) -> None:
    tiers = make(idle_unload_s=10, host_keep_s=100)
    tiers.use("a")
    tiers.clock.now = 11
    tiers.manager.unload_idle()
    assert tiers.state("a") is ComponentState.PARKED
    assert tiers.manager.resident_weights() == {}
    assert tiers.manager.host_weights() == {"a": WEIGHT_BYTES}
    tiers.clock.now = 110
    tiers.manager.unload_idle()
    assert tiers.state("a") is ComponentState.PARKED
    tiers.clock.now = 112
    tiers.manager.unload_idle()
    assert tiers.state("a") is ComponentState.NOT_LOADED
    assert tiers.manager.host_weights() == {}
    assert tiers.kinds() == [EventKind.LOAD, EventKind.PARK, EventKind.UNLOAD]


def test_its_own_thread_does_so_without_being_asked(make: Callable[..., Tiers]) -> None:
    tiers = make(idle_unload_s=10, host_keep_s=20)
    tiers.use("a")
    for now, state in ((11, ComponentState.PARKED), (40, ComponentState.NOT_LOADED)):
        tiers.clock.now = now
        with tiers.manager.use("b", timeout_s=1):  # something changed: the thread looks again
            pass
        tiers.manager.unload("b")
        _spin_until(lambda state=state: tiers.state("a") is state)  # type: ignore[misc]


def test_an_evicted_component_stays_on_the_host_and_an_unloaded_one_does_not(
    make: Callable[..., Tiers],
) -> None:
    tiers = make()
    tiers.use("a")
    tiers.use("b")
    assert (tiers.state("a"), tiers.state("b")) == (ComponentState.PARKED, ComponentState.LOADED)
    report = tiers.manager.unload_all_models()
    assert set(report.unloaded) == {"a", "b"}
    assert tiers.manager.host_weights() == {}
    assert {tiers.state("a"), tiers.state("b")} == {ComponentState.NOT_LOADED}


def test_another_precision_loads_anew_and_none_takes_what_is_there(
    make: Callable[..., Tiers],
) -> None:
    tiers = make()
    tiers.use("a", Placement("bf16"))
    tiers.use("a")
    tiers.use("a", Placement("bf16"))
    assert [order.precision for order in tiers.orders] == ["bf16"]
    tiers.use("a", Placement("int8"))
    assert [order.precision for order in tiers.orders] == ["bf16", "int8"]
    assert tiers.manager.get_status().components[0].precision == "int8"


def test_a_component_on_the_cpu_counts_as_the_hosts_and_moves_when_wanted_elsewhere(
    make: Callable[..., Tiers],
) -> None:
    tiers = make()
    tiers.use("a", Placement(is_on_host=True))
    assert tiers.manager.resident_weights() == {}
    assert tiers.manager.host_weights() == {"a": WEIGHT_BYTES}
    tiers.use("a", Placement())
    assert tiers.manager.resident_weights() == {"a": WEIGHT_BYTES}
    assert len(tiers.orders) == 2


def test_one_in_use_is_never_reloaded_in_another_form(make: Callable[..., Tiers]) -> None:
    tiers = make()
    cancel = CancelToken()
    with tiers.manager.use("a", Placement("fp32")) as lease:
        with pytest.raises(Exception, match="had to wait"):
            tiers.manager.use("a", Placement("bf16"), cancel=cancel, timeout_s=-1).__enter__()
        assert lease.module is not None
    assert [order.precision for order in tiers.orders] == ["fp32"]


def test_the_settings_name_the_precision_when_nobody_else_does(
    make: Callable[..., Tiers],
) -> None:
    tiers = make(weights="bf16")
    tiers.use("a")
    assert tiers.orders[0].precision == "bf16"


def test_reading_ahead_brings_the_weights_to_the_host_meanwhile(
    make: Callable[..., Tiers],
) -> None:
    tiers = make()
    with tiers.manager.use("a"):
        tiers.manager.prefetch("b", "bf16")
        _spin_until(lambda: tiers.state("b") is ComponentState.PARKED)
    assert tiers.runner.prefetched == ["b"]
    assert EventKind.PREFETCH in tiers.kinds()
    tiers.manager.prefetch("b")
    tiers.manager.prefetch("a")
    assert tiers.runner.prefetched == ["b"]


def test_the_models_process_ends_when_nothing_has_been_in_it_for_a_while(
    make: Callable[..., Tiers],
) -> None:
    tiers = make(idle_unload_s=10, host_keep_s=10, worker_keep_s=30, is_isolated=True)
    tiers.manager.unload_idle()
    assert tiers.runner.rest_count == 0
    tiers.use("a")
    for now in (11, 22, 40):
        tiers.clock.now = now
        tiers.manager.unload_idle()
        assert tiers.runner.rest_count == 0
    tiers.clock.now = 53
    tiers.manager.unload_idle()
    assert tiers.runner.rest_count == 1
    tiers.manager.unload_idle()
    assert tiers.runner.rest_count == 1


@pytest.mark.parametrize("is_read_ahead", [False, True])
def test_a_process_in_which_nothing_could_be_loaded_ends_as_well(
    make: Callable[..., Tiers], is_read_ahead: bool
) -> None:
    tiers = make(idle_unload_s=10, host_keep_s=10, worker_keep_s=30, is_isolated=True)

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("torn")

    tiers.runner.load = tiers.runner.prefetch = fail  # type: ignore[assignment,method-assign]
    if is_read_ahead:
        tiers.manager.prefetch("a")
        _spin_until(lambda: all(thread.name != "prefetch" for thread in threading.enumerate()))
    else:
        with pytest.raises(RuntimeError, match="torn"):
            tiers.use("a")
    tiers.clock.now = 31
    tiers.manager.unload_idle()
    assert tiers.runner.rest_count == 1


def test_a_lost_process_leaves_nothing_loaded_and_the_next_use_loads_again(
    make: Callable[..., Tiers],
) -> None:
    tiers = make()
    tiers.use("a")
    tiers.runner.lose()
    tiers.manager.note_loss("ended with code 139")
    assert tiers.state("a") is ComponentState.NOT_LOADED
    assert tiers.events[-1].kind is EventKind.WORKER
    tiers.use("a")
    assert tiers.state("a") is ComponentState.LOADED
    assert len(tiers.orders) == 2


def test_a_lease_calls_a_function_with_the_module_and_only_while_it_lasts(
    make: Callable[..., Tiers],
) -> None:
    tiers = make()
    with tiers.manager.use("a") as lease:
        assert lease.call("tests.test_model_manager_tiers:width_of", 2) == 16
    with pytest.raises(RuntimeError, match="is over"):
        lease.call("tests.test_model_manager_tiers:width_of", 2)


def width_of(module: nn.Linear, factor: int, *, progress: object, cancel: object) -> int:
    return factor * module.out_features
