from pathlib import Path

import pytest

from model_manager import ModelManager
from partwise.core.errors import ConfigError, WeightsError
from partwise.core.worker import WorkerLimits, WorkerPool
from partwise.vram.device import find_device
from partwise.vram.readings import ComponentState
from partwise.vram.settings import VramSettings
from studio.catalog import GENERATE, NEURAL_MODELS, SEGMENT, Engines, register_models


@pytest.fixture
def engines(tmp_path: Path) -> Engines:
    manager = ModelManager(find_device(), VramSettings(), on_event=lambda _: None)
    register_models(manager, tmp_path)
    return Engines(manager, WorkerPool(spare=0), WorkerLimits(1, 1), tmp_path)


@pytest.mark.parametrize(("job", "title"), [(SEGMENT, "P3-SAM"), (GENERATE, "X-Part")])
def test_without_weights_the_built_in_engine_runs_and_says_why(
    engines: Engines, job: str, title: str
) -> None:
    choice = engines.choose(job)
    assert choice.name == "geometric"
    assert choice.needs_gpu is False
    assert title in choice.reason
    assert "weights are not present" in choice.reason
    assert engines.choose(job, "geometric").reason == "chosen by you"


@pytest.mark.parametrize("model", NEURAL_MODELS, ids=lambda model: model.name)
def test_asking_for_a_model_without_weights_says_how_to_get_them(
    engines: Engines, model: object
) -> None:
    with pytest.raises(WeightsError) as refusal:
        engines.choose(model.job, model.name)
    text = refusal.value.message
    assert "weights not present" in text
    assert all(file in text for file in model.files)
    assert " GB" in text
    assert "licence" in text
    assert str(engines.weights_dir) in text


def test_weights_on_disk_change_the_reason(engines: Engines, tmp_path: Path) -> None:
    model = NEURAL_MODELS[0]
    for file in model.files:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_bytes(b"weights")
    assert model.missing_files(tmp_path) == []
    assert "not present" not in engines.choose(model.job).reason
    with pytest.raises(WeightsError, match="no P3-SAM engine yet"):
        engines.choose(model.job, model.name)


@pytest.mark.parametrize("name", ["magic", "", "xpart", "P3SAM"])
def test_an_engine_that_does_not_exist_for_the_job_is_refused(engines: Engines, name: str) -> None:
    with pytest.raises(ConfigError, match="auto, geometric or p3sam"):
        engines.choose(SEGMENT, name)


def test_the_manager_lists_both_models_as_not_available(engines: Engines) -> None:
    components = engines.manager.get_status().components
    assert [component.name for component in components] == ["p3sam", "xpart"]
    assert {component.state for component in components} == {ComponentState.UNAVAILABLE}
    with pytest.raises(WeightsError, match="weights not present"), engines.manager.use("p3sam"):
        pass
    assert {component.lease_count for component in engines.manager.get_status().components} == {0}
