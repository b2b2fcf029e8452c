from pathlib import Path

import pytest

from model_manager import ModelManager
from partwise.core.errors import ConfigError, WeightsError
from partwise.core.worker import WorkerLimits, WorkerPool
from partwise.vram.device import find_device
from partwise.vram.readings import ComponentState
from partwise.vram.settings import VramSettings
from studio.catalog import (
    GENERATE,
    NEURAL_MODELS,
    SEGMENT,
    Engines,
    find_file,
    in_words,
)
from studio.components import neural_components
from studio.encoded import EncodedMeshes
from studio.pace import Pace
from tests.memory_support import memory_of


@pytest.fixture
def engines(tmp_path: Path) -> Engines:
    device, settings = find_device(), VramSettings()
    manager = ModelManager(device, settings)
    for spec in neural_components(tmp_path):
        manager.register(spec)
    return Engines(
        manager,
        memory_of(device, manager, settings),
        WorkerPool(spare=0),
        WorkerLimits(1, 1),
        tmp_path,
        EncodedMeshes(0),
        Pace(is_on_gpu=False),
        auto_limit_s=60.0,
    )


def write_weights(folder: Path, name: str) -> None:
    model = next(model for model in NEURAL_MODELS if model.name == name)
    for file in model.files:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(b"weights")


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


def test_the_neural_engine_runs_as_soon_as_its_weights_are_there(
    engines: Engines, tmp_path: Path
) -> None:
    write_weights(tmp_path, "p3sam")
    assert engines.choose(SEGMENT).name == "p3sam"
    assert engines.choose(SEGMENT, "p3sam").reason == "chosen by you"
    assert engines.choose(SEGMENT, "geometric").name == "geometric"


def test_what_would_take_too_long_is_not_chosen_but_can_be_asked_for(
    engines: Engines, tmp_path: Path
) -> None:
    write_weights(tmp_path, "p3sam")
    choice = engines.choose(SEGMENT, neural_s=600.0)
    assert choice.name == "geometric"
    assert "about 10 min" in choice.reason
    assert engines.choose(SEGMENT, "p3sam", neural_s=600.0).name == "p3sam"


def test_on_a_zerogpu_space_it_is_refused_with_the_reason(
    engines: Engines, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, job in (("p3sam", SEGMENT), ("xpart", GENERATE)):
        write_weights(tmp_path, name)
        monkeypatch.setenv("SPACES_ZERO_GPU", "true")
        assert engines.choose(job).name == "geometric"
        with pytest.raises(WeightsError, match="ZeroGPU"):
            engines.choose(job, name)


def test_one_of_three_files_is_not_enough(engines: Engines, tmp_path: Path) -> None:
    write_weights(tmp_path, "xpart")
    assert engines.choose(GENERATE).name == "xpart"
    (tmp_path / "shapevae" / "shapevae.safetensors").unlink()
    with pytest.raises(WeightsError, match=r"needs shapevae/shapevae\.safetensors"):
        engines.choose(GENERATE, "xpart")


@pytest.mark.parametrize(
    "file",
    ["p3sam/p3sam.safetensors", "p3sam.safetensors", "p3sam/p3sam.ckpt", "p3sam.ckpt", "p3sam.pt"],
)
def test_files_at_hand_are_found_where_people_put_them(tmp_path: Path, file: str) -> None:
    (tmp_path / "p3sam").mkdir()
    (tmp_path / file).write_bytes(b"weights")
    assert find_file("p3sam/p3sam.safetensors", tmp_path) == tmp_path / file


@pytest.mark.parametrize("name", ["magic", "", "xpart", "P3SAM"])
def test_an_engine_that_does_not_exist_for_the_job_is_refused(engines: Engines, name: str) -> None:
    with pytest.raises(ConfigError, match="auto, geometric or p3sam"):
        engines.choose(SEGMENT, name)


def test_the_manager_lists_all_components_as_not_available(engines: Engines) -> None:
    components = engines.manager.get_status().components
    assert [component.name for component in components] == [
        "p3sam",
        "xpart.conditioner",
        "xpart.dit",
        "xpart.vae",
    ]
    assert {component.state for component in components} == {ComponentState.UNAVAILABLE}
    with pytest.raises(WeightsError, match="weights not present"), engines.manager.use("p3sam"):
        pass
    assert {component.lease_count for component in engines.manager.get_status().components} == {0}


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.2, "1 s"), (89, "89 s"), (600, "10 min"), (9000, "2.5 h")]
)
def test_times_are_told_as_people_do(seconds: float, words: str) -> None:
    assert in_words(seconds) == words
