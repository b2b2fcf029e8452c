import copy
import pickle
from collections.abc import Iterator

import pytest
import torch
from torch import nn

from lazy_partformer import LazyPartFormer
from model_manager import ComponentSpec, ModelManager
from partwise.core.errors import Cancelled, WeightsError
from partwise.core.progress import CancelToken
from partwise.vram.device import Device
from partwise.vram.settings import VramSettings


class Pipeline(nn.Module):
    """Doubles its input; fails or is cancelled when told to."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(2.0))
        self.steps = 7

    def forward(
        self, points: torch.Tensor, *, fail: bool = False, cancel: CancelToken | None = None
    ) -> torch.Tensor:
        if fail:
            raise ZeroDivisionError
        if cancel is not None:
            cancel.cancel()
            cancel.raise_if_cancelled()
        return points * self.scale

    def shift(self, points: torch.Tensor, by: float) -> torch.Tensor:
        return points + by * self.scale


@pytest.fixture
def manager() -> Iterator[ModelManager]:
    manager = ModelManager(Device(), VramSettings())
    manager.register(ComponentSpec("xpart", "X-Part", lambda order: Pipeline()))
    manager.register(
        ComponentSpec(
            "absent",
            "Absent",
            lambda order: Pipeline(),
            why_unavailable=lambda: "weights not present",
        )
    )
    yield manager
    manager.shutdown()


def test_making_one_loads_nothing(manager: ModelManager) -> None:
    assert not LazyPartFormer(manager).is_loaded


def test_a_call_loads_computes_and_unloads(manager: ModelManager) -> None:
    pipeline = LazyPartFormer(manager)
    assert pipeline(torch.ones(3)).tolist() == [2.0, 2.0, 2.0]
    assert not pipeline.is_loaded


def test_a_call_keeps_the_pipeline_when_told_so(manager: ModelManager) -> None:
    pipeline = LazyPartFormer(manager, unload_after=False)
    pipeline(torch.ones(3))
    assert pipeline.is_loaded
    pipeline.unload()
    assert not pipeline.is_loaded


def test_unloads_after_an_error_too(manager: ModelManager) -> None:
    pipeline = LazyPartFormer(manager)
    with pytest.raises(ZeroDivisionError):
        pipeline(torch.ones(3), fail=True)
    assert not pipeline.is_loaded


def test_unloads_after_a_cancel_too(manager: ModelManager) -> None:
    pipeline = LazyPartFormer(manager)
    with pytest.raises(Cancelled):
        pipeline(torch.ones(3), cancel=CancelToken())
    assert not pipeline.is_loaded


def test_stays_loaded_while_somebody_else_uses_it(manager: ModelManager) -> None:
    pipeline = LazyPartFormer(manager)
    with manager.use("xpart"):
        pipeline(torch.ones(3))
        assert pipeline.is_loaded


def test_missing_weights_are_refused_with_their_sentence(manager: ModelManager) -> None:
    with pytest.raises(WeightsError, match="weights not present"):
        LazyPartFormer(manager, "absent")(torch.ones(3))


def test_an_attribute_loads_on_first_touch_and_stays(manager: ModelManager) -> None:
    pipeline = LazyPartFormer(manager)
    assert pipeline.steps == 7
    assert pipeline.is_loaded


def test_a_method_takes_a_lease_for_each_call(manager: ModelManager) -> None:
    shift = LazyPartFormer(manager).shift
    manager.unload_all_models()
    assert shift(torch.zeros(1), by=3.0).tolist() == [6.0]


def test_private_names_never_load(manager: ModelManager) -> None:
    pipeline = LazyPartFormer(manager)
    with pytest.raises(AttributeError):
        _ = pipeline._ipython_display_
    with pytest.raises(AttributeError):
        _ = pipeline.__array__
    assert not pipeline.is_loaded


def test_a_missing_attribute_is_an_attribute_error(manager: ModelManager) -> None:
    with pytest.raises(AttributeError, match="no_such"):
        _ = LazyPartFormer(manager).no_such


def test_copies_share_the_manager_and_load_nothing(manager: ModelManager) -> None:
    pipeline = LazyPartFormer(manager)
    for other in (copy.copy(pipeline), copy.deepcopy(pipeline), copy.deepcopy([pipeline])[0]):
        assert not other.is_loaded
        assert other(torch.ones(1)).tolist() == [2.0]


def test_pickling_is_refused_with_a_reason(manager: ModelManager) -> None:
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(LazyPartFormer(manager))


def test_an_object_without_a_manager_does_not_recurse() -> None:
    empty = LazyPartFormer.__new__(LazyPartFormer)
    with pytest.raises(AttributeError):
        _ = empty.steps


def test_repr_loads_nothing(manager: ModelManager) -> None:
    assert repr(LazyPartFormer(manager)) == "<LazyPartFormer of “xpart”, not loaded>"
