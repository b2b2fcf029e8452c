"""What programs and people ask of Generate, and what they are told before it runs."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from partwise.core.errors import ConfigError, MeshError
from studio import prospect
from studio.asked import GenerateChoice, read_part_ids, request_of, set_boxes
from studio.catalog import GEOMETRIC, XPART, EngineChoice
from studio.configuration import load_configuration
from studio.document import Document, Part, PartSet, Run
from studio.generate import GenerateOptions
from studio.outlook import Outlook
from studio.prospect import check_part_count, prospect_of
from tests.studio import meshes
from tests.studio.meshes import source_mesh

BOXES = np.array([[[2.0 * i, 0, 0], [2.0 * i + 1, 1, 1]] for i in range(3)])


@pytest.fixture
def document() -> Document:
    """Three boxes, which are parts 3, 4 and 5."""
    made = Document(source_mesh(*meshes.boxes(3)), "")
    labels = np.repeat(np.arange(3, 6, dtype=np.int32), 12)
    parts = PartSet(labels, tuple(Part(i, f"Box {i}", i) for i in range(3, 6)))
    made.set_segmentation(parts, Run("segment", "labels", "", {}, {}, 0.0))
    return made


def options_of(**chosen: Any) -> GenerateOptions:
    return GenerateChoice(**chosen).options(load_configuration(environment={}))


def test_a_quality_sets_steps_and_cells_and_a_person_s_own_win() -> None:
    preview = options_of(quality="preview").xpart
    full = options_of().xpart
    assert preview.steps < full.steps
    assert preview.octree_resolution < full.octree_resolution
    own = options_of(quality="preview", steps=7, octree_resolution=512, seed=3, decoding="band")
    assert (own.xpart.steps, own.xpart.octree_resolution) == (7, 512)
    assert (own.xpart.seed, own.xpart.decoding) == (3, "band")


@pytest.mark.parametrize(
    ("chosen", "text"),
    [
        ({"quality": "best"}, "“best” is not a quality"),
        ({"steps": 1}, "steps is 1"),
        ({"steps": 10**9}, "steps is 1000000000"),
        ({"octree_resolution": 300}, "octree_resolution is 300"),
        ({"seed": -1}, "seed is -1"),
        ({"decoding": "magic"}, "'magic'"),
        ({"quality": "preview", "decoding": "band"}, "at least 256"),
    ],
)
def test_settings_out_of_range_are_refused_in_words(chosen: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError, match=text) as caught:
        options_of(**chosen)
    assert caught.value.message.endswith(".")


def test_a_list_of_parts_is_read() -> None:
    assert read_part_ids(" 0, 2,5,2 ") == (0, 2, 5)
    assert read_part_ids("") is None


@pytest.mark.parametrize("text", ["a", "1,,2", "-1", "1.5", "²", "1;2", "9" * 11, "1," * 9000])
def test_what_is_no_list_of_parts_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="such as 0,2,5"):
        read_part_ids(text)


def test_a_request_is_of_all_parts_or_of_those_asked_for(document: Document) -> None:
    options = options_of()
    whole = request_of(document, GenerateChoice(), options, "auto")
    assert whole.chosen_ids == (3, 4, 5)
    document.set_box(5, BOXES[0])
    some = request_of(document, GenerateChoice(part_ids=(5, 3)), options, "auto")
    assert some.chosen_ids == (5, 3)
    assert np.array_equal(some.aabbs, BOXES[[0, 0]])
    with pytest.raises(ConfigError, match=r"There is no part 9. The parts are 3, 4, 5\."):
        request_of(document, GenerateChoice(part_ids=(3, 9)), options, "auto")


def test_boxes_of_a_file_go_to_the_parts_or_become_parts(
    document: Document, tmp_path: Path
) -> None:
    path = tmp_path / "boxes.npy"
    np.save(path, BOXES[:2])
    with pytest.raises(ConfigError, match="part_ids"):
        set_boxes(document, path, "boxes.npy")
    bare = Document(document.source, "")
    assert "2 parts" in set_boxes(bare, path, "boxes.npy")
    assert bare.parts is not None
    assert [part.id for part in bare.parts.parts] == [0, 1]
    path.write_bytes(b"{}")
    with pytest.raises(MeshError, match="aabbs"):
        set_boxes(bare, path, "boxes.json")


def engines_with(name: str, monkeypatch: pytest.MonkeyPatch, ahead: Outlook) -> Any:
    choice = EngineChoice(name, name.title(), "chosen by you", needs_gpu=name == XPART)
    foreseen = (choice, ahead if name == XPART else None)
    monkeypatch.setattr(prospect, "foresee", lambda *_: foreseen)
    return SimpleNamespace(choose=lambda *_: choice)


def test_a_prospect_tells_the_work_and_how_long_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    engines = engines_with(XPART, monkeypatch, Outlook(200.0, None))
    found = prospect_of(engines, XPART, options_of(), 10)
    assert "10 parts, 50 steps, 512³ cells: about 3 min" in found.sentence
    assert not found.problem
    assert prospect_of(engines, XPART, options_of(quality="preview"), 1).words.count("1 part,") == 1
    assert "No part is chosen" in prospect_of(engines, XPART, options_of(), 0).words


def test_more_than_fifty_parts_are_refused_by_x_part_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    engines = engines_with(XPART, monkeypatch, Outlook(1.0, None))
    assert not prospect_of(engines, XPART, options_of(), 50).is_refused
    refused = prospect_of(engines, XPART, options_of(), 51)
    assert refused.is_refused
    assert "51 are chosen. Merge some of them, choose fewer" in refused.problem
    engines = engines_with(GEOMETRIC, monkeypatch, Outlook(1.0, None))
    assert not prospect_of(engines, GEOMETRIC, options_of(), 51).is_refused
    check_part_count(engines, GEOMETRIC, 51)
