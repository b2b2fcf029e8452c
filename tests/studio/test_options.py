"""From a preset, the environment and a person's choice to the settings of a run."""

from dataclasses import asdict

import pytest

from partwise.core.errors import ConfigError
from partwise.p3sam.cost import WEIGHT_BYTES, peak_bytes
from partwise.p3sam.settings import P3SamSettings
from studio.configuration import load_configuration
from studio.document import Document, PartSet, Run
from studio.edit import no_parts
from studio.segment import P3SamChoice, is_stale, options_for
from tests.studio.meshes import boxes, source_mesh

PRESETS = {
    "quality": (100_000, 400),
    "balanced": (30_000, 150),
    "low_vram": (20_000, 100),
    "preview": (15_000, 75),
}


def p3sam_of(environment: dict[str, str], preset: str = "balanced") -> P3SamSettings:
    return options_for(load_configuration(environment=environment), preset).p3sam


@pytest.mark.parametrize(("preset", "numbers"), PRESETS.items())
def test_a_preset_sets_points_and_prompts(preset: str, numbers: tuple[int, int]) -> None:
    settings = p3sam_of({}, preset)
    assert (settings.point_num, settings.prompt_num) == numbers


def test_the_configured_thresholds_are_the_published_ones() -> None:
    configured = asdict(load_configuration(environment={}).p3sam)
    assert configured == asdict(P3SamSettings())


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("P3SAM_POINT_NUM", "point_num"),
        ("P3SAM_INFERENCE_POINT_NUM", "point_num"),
        ("P3SAM_PROMPT_NUM", "prompt_num"),
        ("P3SAM_INFERENCE_PROMPT_NUM", "prompt_num"),
        ("P3SAM_PROMPT_BS", "prompt_batch"),
        ("PARTWISE_P3SAM_POINT_NUM", "point_num"),
    ],
)
def test_names_of_other_servers_keep_working_and_beat_the_preset(name: str, key: str) -> None:
    assert getattr(p3sam_of({name: "123"}), key) == 123


def test_of_several_names_ours_wins_then_the_one_for_inference() -> None:
    names = {"P3SAM_POINT_NUM": "1000", "P3SAM_INFERENCE_POINT_NUM": "2000"}
    assert p3sam_of(names).point_num == 2000
    assert p3sam_of(names | {"PARTWISE_P3SAM_POINT_NUM": "3000"}).point_num == 3000


def test_a_person_s_choice_beats_the_environment() -> None:
    configuration = load_configuration(environment={"P3SAM_POINT_NUM": "1000"})
    chosen = P3SamChoice(point_num=700, prompt_num=9, precision="bf16", is_post_processed=True)
    settings = options_for(configuration, "quality", seed=5, chosen=chosen).p3sam
    assert (settings.point_num, settings.prompt_num, settings.seed) == (700, 9, 5)
    assert settings.precision == "bf16"
    assert settings.is_post_processed


def test_without_a_seed_each_engine_has_its_own() -> None:
    options = options_for(load_configuration(environment={}), "balanced")
    assert (options.geometric.seed, options.p3sam.seed) == (0, 42)


@pytest.mark.parametrize(
    ("chosen", "text"),
    [
        (P3SamChoice(point_num=0), "point_num is 0"),
        (P3SamChoice(point_num=2_000_000), "up to 1000000"),
        (P3SamChoice(prompt_num=20_000), "up to 10000"),
        (P3SamChoice(prompt_batch=0), "prompt_batch is 0"),
        (P3SamChoice(precision="int4"), "fp32, bf16, fp16"),
    ],
)
def test_settings_out_of_range_are_refused_in_words(chosen: P3SamChoice, text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        options_for(load_configuration(environment={}), "balanced", chosen=chosen)


def test_a_number_in_the_environment_that_is_none_is_refused_by_its_name() -> None:
    with pytest.raises(ConfigError, match="P3SAM_POINT_NUM"):
        load_configuration(environment={"P3SAM_POINT_NUM": "many"})


def test_parts_are_stale_when_the_settings_of_their_engine_changed() -> None:
    configuration = load_configuration(environment={})
    options = options_for(configuration, "balanced")
    other = options_for(configuration, "preview", chosen=P3SamChoice(prompt_num=9))
    mesh = source_mesh(*boxes(1))
    document = Document(mesh, "hash")
    assert not is_stale(document, options)
    parts: PartSet = no_parts(len(mesh.faces))
    run = Run("segment", "p3sam", "", asdict(options.p3sam), {}, 1.0)
    document.set_segmentation(parts, run)
    assert not is_stale(document, options)
    assert is_stale(document, other)
    assert not is_stale(document, options, "p3sam")
    assert is_stale(document, options, "geometric")


def test_parts_are_not_old_for_settings_that_change_no_result() -> None:
    configuration = load_configuration(environment={})
    document = Document(source_mesh(*boxes(1)), "hash")
    made = asdict(options_for(configuration, "balanced").p3sam)
    document.set_segmentation(no_parts(12), Run("segment", "p3sam", "", made, {}, 1.0))
    batched = options_for(configuration, "balanced", chosen=P3SamChoice(prompt_batch=1))
    seeded = options_for(configuration, "balanced", seed=7)
    assert not is_stale(document, batched)
    assert is_stale(document, seeded)


def test_the_expected_peak_grows_with_the_points_and_not_with_the_prompts() -> None:
    few, many = (P3SamSettings(prompt_num=count) for count in (40, 400))
    assert peak_bytes(few) == peak_bytes(many) > WEIGHT_BYTES
    assert peak_bytes(P3SamSettings(point_num=30_000)) < peak_bytes(many)


def test_there_are_never_more_prompts_than_points() -> None:
    settings = p3sam_of({"P3SAM_POINT_NUM": "10"})
    assert (settings.point_num, settings.prompt_count) == (10, 10)
