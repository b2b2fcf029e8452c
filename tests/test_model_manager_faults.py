"""What goes wrong half-way: nothing is left on the card, and what is shown is what is there."""

import contextlib
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
import torch
from torch import nn

from lazy_partformer import COMPONENTS, LazyPartFormer
from model_manager import ComponentSpec, ModelManager, Placement
from partwise.core.errors import EngineError
from partwise.vram.component import LoadOrder
from partwise.vram.readings import ComponentState
from partwise.vram.runner import LocalRunner
from partwise.vram.settings import VramSettings
from partwise.vram.simulated import SimulatedDevice
from tests.manager_support import KILLED_LATE, WAIT_S, kill
from tests.memory_support import CONTEXT, MIB, builder

NAMES = ("a", "b", "c")
_WIDTH = 512  # 1 MiB each in fp32


@dataclass
class Place:
    """A simulated card with three components that share it."""

    device: SimulatedDevice
    runner: LocalRunner
    manager: ModelManager

    def use(self, name: str, placement: Placement | None = None) -> None:
        with self.manager.use(name, placement) as lease:
            assert float(lease.module.weight[0, 0]) == 2.0

    def state(self, name: str) -> ComponentState:
        return next(c.state for c in self.manager.get_status().components if c.name == name)

    @property
    def card_bytes(self) -> int:
        allocator = self.device.read().allocator
        assert allocator is not None
        return allocator.allocated_bytes


def place(host_cache_bytes: int | None = None, **components: Callable[[LoadOrder], Any]) -> Place:
    device = SimulatedDevice(256 * MIB, context_bytes=CONTEXT)
    runner = LocalRunner(device, lambda: 2**34, host_cache_bytes)
    settings = VramSettings(idle_unload_s=0, host_keep_s=0)
    manager = ModelManager(device, settings, runner=runner)
    for name in NAMES:
        build = components.get(name, builder(_WIDTH, 2.0))
        manager.register(ComponentSpec(name, name, build, count_bytes=_count))
    return Place(device, runner, manager)


def _count(precision: str) -> int:
    return _WIDTH * _WIDTH * (2 if precision == "bf16" else 4)


def _fails(*_: object) -> None:
    raise RuntimeError("the device is gone")


@pytest.mark.parametrize("step", ["upload", "settle"])
def test_a_load_that_fails_while_its_weights_are_copied_leaves_none_on_the_card(
    monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    here = place()
    with monkeypatch.context() as patch:
        patch.setattr(here.device, step, _fails)
        with pytest.raises(RuntimeError, match="is gone"):
            here.use("a")
    assert (here.card_bytes, here.manager.resident_weights()) == (0, {})
    assert here.state("a") is ComponentState.PARKED
    here.use("a")
    here.manager.shutdown()


@pytest.mark.parametrize(("verb", "unload"), [("load", False), ("drop", True), ("park", True)])
@pytest.mark.parametrize("is_done", [False, True])
def test_a_thread_killed_around_a_step_of_the_runner_leaves_nothing_on_the_card(
    monkeypatch: pytest.MonkeyPatch, verb: str, unload: bool, is_done: bool
) -> None:
    here = place()
    if unload:
        here.use("a")
    step = getattr(here.runner, verb)
    kills = [SystemExit()]

    def killed(*args: Any, **kwargs: Any) -> Any:
        if is_done or not kills:
            step(*args, **kwargs)
        if kills:
            raise kills.pop()

    leave = partial(here.manager.unload, "a", keep_on_host=verb == "park")
    with monkeypatch.context() as patch:
        patch.setattr(here.runner, verb, killed)
        with pytest.raises(SystemExit):
            (leave if unload else partial(here.use, "a"))()
    assert (here.card_bytes, here.manager.resident_weights()) == (0, {})
    for name in ("a", "b"):
        here.use(name)
    here.manager.shutdown()


def test_the_hosts_weights_are_shown_as_they_are_whatever_the_cache_gives_up() -> None:
    for seed in range(20):
        dice = random.Random(seed)
        here = place(dice.choice((None, 1, _count("fp32"), 2 * _count("fp32"))))
        for _ in range(40):
            name, precision = dice.choice(NAMES), dice.choice(("fp32", "bf16"))
            step = dice.randrange(5)
            if step < 2:
                here.use(name, Placement(precision))
            elif step == 2:
                here.manager.prefetch(name, precision)
                _join("prefetch")
            else:
                here.manager.unload(name, keep_on_host=step == 3)
            shown = here.manager.host_weights()
            assert sum(shown.values()) == here.runner._masters.total_bytes
            for component in here.manager.get_status().components:
                is_kept = component.state is ComponentState.PARKED
                assert is_kept == (component.host_bytes is not None and not component.weight_bytes)
        here.manager.unload_all_models()
        assert (here.runner._masters.total_bytes, here.card_bytes) == (0, 0)
        here.manager.shutdown()


def _join(name: str) -> None:
    for thread in threading.enumerate():
        if thread.name == name:
            thread.join(WAIT_S)


@pytest.mark.parametrize("is_first", [True, False])
def test_read_ahead_in_another_precision_than_is_loaded_keeps_one_of_them(is_first: bool) -> None:
    go, is_reading, plain = threading.Event(), threading.Event(), builder(_WIDTH, 2.0)

    def build(order: LoadOrder) -> nn.Module:
        module = plain(order)
        if order.precision == "bf16":
            is_reading.set()
            assert go.wait(WAIT_S)
        return module

    here = place(a=build)
    here.manager.prefetch("a", "bf16")
    assert is_reading.wait(WAIT_S)
    if is_first:
        go.set()
        _join("prefetch")
    here.use("a", Placement("fp32"))
    go.set()
    _join("prefetch")
    assert here.manager.host_weights() == {"a": _count("fp32")}
    assert here.runner._masters.total_bytes == _count("fp32")
    here.use("a", Placement("bf16"))
    assert here.manager.host_weights() == {"a": _count("bf16")}
    here.manager.shutdown()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # a kill in a close
@pytest.mark.filterwarnings(f"ignore:{KILLED_LATE}:pytest.PytestUnhandledThreadExceptionWarning")
def test_threads_killed_at_any_moment_leave_no_lock_no_lease_and_no_weights() -> None:
    here, dice = place(_count("fp32")), random.Random(5)

    def work(has_begun: threading.Event) -> None:
        with contextlib.suppress(SystemExit):
            has_begun.set()
            while True:
                here.use(dice.choice(NAMES), Placement(dice.choice(("fp32", "bf16"))))
                here.manager.unload(dice.choice(NAMES), keep_on_host=dice.random() < 0.5)

    for _ in range(30):
        begun = [threading.Event(), threading.Event()]
        threads = [threading.Thread(target=work, args=(event,)) for event in begun]
        for thread in threads:
            thread.start()
        assert all(event.wait(WAIT_S) for event in begun)  # a kill before is nobody's to hear
        here.manager.prefetch(dice.choice(NAMES), "fp32")  # not there: Python's own start can hang
        time.sleep(dice.uniform(0.005, 0.03))
        for thread in threads:
            kill(thread)
    _join("prefetch")
    for name in NAMES:
        with here.manager.use(name, timeout_s=WAIT_S):
            assert set(here.manager.resident_weights()) == {name}
    assert here.manager.unload_all_models().in_use == ()
    # not the card's bytes: a kill in the simulated card's own books loses a charge there
    assert (here.manager.host_weights(), here.runner._masters.total_bytes) == ({}, 0)
    here.manager.shutdown()


def test_a_load_that_ends_after_the_shutdown_is_taken_back() -> None:
    go, is_loading, plain = threading.Event(), threading.Event(), builder(_WIDTH, 2.0)

    def build(order: LoadOrder) -> nn.Module:
        is_loading.set()
        assert go.wait(WAIT_S)
        return plain(order)

    here = place(a=build)
    thread = threading.Thread(target=here.use, args=("a",))
    thread.start()
    assert is_loading.wait(WAIT_S)
    here.manager.shutdown()
    go.set()
    thread.join(WAIT_S)
    assert (here.card_bytes, here.manager.host_weights()) == (0, {})
    with pytest.raises(EngineError, match="shutting down"):
        here.use("b")


def test_a_closed_runner_keeps_nothing_on_the_host_either() -> None:
    here = place()
    here.use("a")
    here.manager.prefetch("b")
    _join("prefetch")
    here.runner.close()
    assert (here.card_bytes, here.runner._masters.total_bytes) == (0, 0)


def test_a_module_that_a_script_kept_has_weights_again_once_it_is_back_from_the_host() -> None:
    here = place()
    with here.manager.use("a") as lease:
        module = lease.module
    here.manager.unload("a", keep_on_host=True)
    assert module.weight.is_meta
    with here.manager.use("a") as lease:
        assert lease.module is module
        assert torch.equal(module.weight, torch.full((_WIDTH, _WIDTH), 2.0))
    here.manager.unload("a")
    here.use("a")
    assert module.weight.is_meta
    here.manager.shutdown()


def test_a_pipeline_leaves_the_card_and_stays_on_the_host_for_the_next_call() -> None:
    here = place()
    for name in COMPONENTS:
        build = builder(_WIDTH, 2.0)
        here.manager.register(ComponentSpec(name, name, build, count_bytes=_count, model="xpart"))
    pipeline = LazyPartFormer(here.manager)
    assert not pipeline.is_loaded
    for name in COMPONENTS:
        assert getattr(pipeline, name.removeprefix("xpart.")).weight.shape == (_WIDTH, _WIDTH)
    assert set(here.manager.resident_weights()) == set(COMPONENTS)
    pipeline.unload(keep_on_host=True)
    assert (here.card_bytes, here.state(COMPONENTS[0])) == (0, ComponentState.PARKED)
    pipeline.unload()
    assert here.manager.host_weights() == {}
    here.manager.shutdown()
