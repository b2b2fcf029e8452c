"""Closed parts as printed things: sizes, warnings, the 3MF and who is left out of it."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh

from partwise.core.errors import AppError, ConfigError
from partwise.geometric.complete import CompletedPart, CompletionSettings, PartState, complete_parts
from partwise.geometry.mesh_io import MeshLimits, SourceMesh, parse_mesh
from studio import printing, results
from studio.document import Document, Part, PartSet, Run
from studio.generate import GenerateOptions, check_lengths, is_stale
from studio.print_size import Printing, in_three_digits, mm_per_unit, read_printing
from studio.ui.flows import Status
from studio.ui.print_controls import PrintChoice
from studio.ui.print_views import print_html
from studio.ui.views import generate_view
from studio.workspace import Session
from tests.studio.meshes import boxes, source_mesh


@pytest.fixture
def document() -> Document:
    """Three unit boxes in a row of length 5: closed, closed by voxels and thin, open."""
    mesh = source_mesh(*boxes(3))
    labels = np.repeat(np.arange(3, dtype=np.int32), 12)
    parts = PartSet(labels, tuple(Part(i, name, i) for i, name in enumerate(("A", "B & C", "D"))))
    made = Document(mesh, "ab" * 32)
    made.set_segmentation(parts, Run("segment", "geometric", "", {}, {}, 0.6))
    first, second, third = complete_parts(mesh.vertices, mesh.faces, labels).parts
    done = (
        replace(first, thickness=0.5),
        replace(second, state=PartState.VOXEL, thickness=0.03),
        replace(third, state=PartState.OPEN, reason="It is a sheet.", thickness=math.nan),
    )
    made.set_completion(parts, done, Run("generate", "geometric", "", {}, {}, 0.1))
    return made


def read_back(document: Document, folder: Path) -> SourceMesh:
    path = folder / "parts.3mf"
    path.write_bytes(results.download(document, results.COMPLETED, "parts.3mf"))
    return parse_mesh(path, "3mf", MeshLimits(), "parts.3mf")


def test_the_3mf_has_the_closed_parts_alone_at_the_printed_size(
    document: Document, tmp_path: Path
) -> None:
    mesh = read_back(document, tmp_path)
    assert mesh.node_names == ("A", "B & C")
    assert mesh.facts.extents == pytest.approx([60, 20, 20])
    scene = trimesh.load_scene(tmp_path / "parts.3mf")
    assert sum(solid.volume for solid in scene.dump()) == pytest.approx(2 * 20**3)
    document.set_printing(Printing(None))
    assert read_back(document, tmp_path).facts.extents == pytest.approx([3, 1, 1])


def test_who_is_not_in_the_3mf_is_named_wherever_it_is_offered(document: Document) -> None:
    assert "parts.3mf" in results.downloads(document, results.COMPLETED)
    assert "Not in parts.3mf, as not closed: D." in results.print_words(document)
    assert "not in the 3MF: D." in print_html(document, CompletionSettings())
    assert results.report(document, results.COMPLETED)["print"]["not_in_3mf"] == [2]


def test_without_a_closed_part_there_is_no_3mf(document: Document) -> None:
    (*_, third), parts, run = document.completed, document.completed_of, document.completion
    assert parts is not None
    assert run is not None
    document.set_completion(parts, (third,), run)
    assert results.PRINT_FILE not in results.downloads(document, results.COMPLETED)
    assert results.PRINT_FILE not in results.downloads(document, results.PARTS)
    with pytest.raises(AppError, match="No part is closed"):
        printing.parts_3mf(document)


def test_a_closed_part_of_voxels_is_closed_by_a_word_of_its_own(
    document: Document, session: Session
) -> None:
    rows = results.part_rows(document, results.COMPLETED)
    assert [row.state for row in rows] == ["closed", "voxel", "open"]
    assert [row.volume for row in rows] == pytest.approx([1, 1, None])
    session.document = document
    shown: Any = generate_view(session, Status("ready"))
    assert [part["state"] for part in shown["parts"]] == ["closed", "voxel", "open"]
    assert shown["message"].startswith("2 of 3 parts closed")


def test_volumes_and_areas_grow_with_the_printed_size(document: Document) -> None:
    for size, scale in ((100.0, 20.0), (50.0, 10.0), (None, 1.0)):
        document.set_printing(Printing(size))
        row = results.part_rows(document, results.COMPLETED)[0]
        assert row.printed is not None
        assert row.printed.volume_mm3 == pytest.approx(scale**3)
        assert row.printed.area_mm2 == pytest.approx(6 * scale**2)
        assert (row.volume, row.area) == pytest.approx((1, 6)), "of the mesh, as before"


def test_thin_parts_are_warned_of_by_what_prints_and_how_large(document: Document) -> None:
    def thin() -> list[bool]:
        rows = results.part_rows(document, results.COMPLETED)
        return [row.printed.is_too_thin for row in rows if row.printed]

    assert thin() == [False, True, False], "0.03 units are 0.6 mm; what is not measured is not told"
    assert "Too thin to print, under 0.8 mm: B &amp; C (0.6 mm)." in print_html(
        document, CompletionSettings()
    )
    document.set_printing(Printing(100.0, 0.5))
    assert thin() == [False, False, False]
    document.set_printing(Printing(5.0, 0.8))
    assert thin() == [True, True, False]


def test_the_table_the_report_and_the_command_line_tell_the_same(
    document: Document, session: Session
) -> None:
    session.document = document
    view: Any = generate_view(session, Status("ready"))
    shown = view["parts"][1]
    assert (shown["volume"], shown["area"]) == ("8 cm³", "24 cm²")
    assert "0.6 mm" in shown["warning"]
    told = json.loads(results.download(document, results.COMPLETED, "report.json"))
    assert told["print"]["mm_per_unit"] == pytest.approx(20)
    part = told["parts"][1]
    assert (part["volume_mm3"], part["area_mm2"]) == pytest.approx((8000, 2400))
    assert (part["state"], part["is_too_thin"], part["thickness"]) == ("voxel", True, 0.03)
    assert told["parts"][2]["thickness_mm"] is None
    line = results.row_words(document, results.part_rows(document, results.COMPLETED)[1])
    assert line.startswith("voxel · 8 cm³ · 24 cm² · Too thin to print: 0.6 mm")


def test_another_printed_size_renews_the_files_but_not_the_picture(document: Document) -> None:
    revision, picture = document.revision, document.picture_revision
    document.set_printing(Printing(30.0))
    assert (document.revision, document.picture_revision) == (revision + 1, picture)
    document.set_printing(Printing(30.0))
    assert document.revision == revision + 1


def test_as_in_the_file_keeps_the_unit_of_a_3mf(document: Document) -> None:
    as_in_file, facts = Printing(None), document.source.facts
    assert mm_per_unit(document.source, as_in_file) == 1
    for file_format, unit, scale in (("3mf", "inch", 25.4), ("glb", "metre", 1.0)):
        mesh = replace(document.source, facts=replace(facts, file_format=file_format, unit=unit))
        assert mm_per_unit(mesh, as_in_file) == scale
        assert mm_per_unit(mesh, Printing(100.0)) == 20


@pytest.mark.parametrize(
    ("value", "text"),
    [
        *((0.0, "0"), (1.0, "1"), (12.345, "12.3"), (0.80004, "0.8"), (999.6, "1,000")),
        *((123456.0, "123,000"), (0.0123456, "0.0123"), (1e-9, "1e-09"), (3e12, "3e+12")),
    ],
)
def test_numbers_have_three_digits(value: float, text: str) -> None:
    assert in_three_digits(value) == text


@pytest.mark.parametrize(
    ("size", "wall", "expected"),
    [
        ("", "", Printing()),
        (" 80,5 ", "1.2", Printing(80.5, 1.2)),
        ("FILE", "0", Printing(None, 0.0)),
    ],
)
def test_a_printed_size_is_read_as_people_write_it(
    size: str, wall: str, expected: Printing
) -> None:
    assert read_printing(size, wall) == expected


@pytest.mark.parametrize(
    ("size", "wall"), [("0", ""), ("-5", ""), ("nan", ""), ("1e9", ""), ("big", ""), ("", "-1")]
)
def test_a_printed_size_that_is_none_is_refused(size: str, wall: str) -> None:
    with pytest.raises(ConfigError, match="Give "):
        read_printing(size, wall)


def test_lengths_on_the_plate_become_lengths_of_the_mesh(document: Document) -> None:
    choice = PrintChoice(("50", False, "", "5", "", "1,5"))
    assert choice.settings(document.source) == CompletionSettings(0.5, 0.02, 0.15)
    as_in_file = PrintChoice(("50", True, "", "5", "0.4", ""))
    assert as_in_file.settings(document.source) == CompletionSettings(5.0, 0.4, 0.0)
    assert PrintChoice(("", False, "", "", "", "")).settings(document.source) == (
        CompletionSettings()
    )
    with pytest.raises(ConfigError, match="length of the pegs is “five”"):
        PrintChoice(("", False, "", "five", "", "")).settings(document.source)


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        (CompletionSettings(plug=-1), "plug is -1"),
        (CompletionSettings(wall=math.nan), "wall is nan"),
        (CompletionSettings(clearance=math.inf), "clearance is inf"),
        (CompletionSettings(plug=2.6), "Give at most 2.5"),
        (CompletionSettings(plug=0.1, clearance=0.1), "leaves nothing of a plug"),
    ],
)
def test_lengths_that_cannot_be_are_refused(
    document: Document, settings: CompletionSettings, text: str
) -> None:
    with pytest.raises(ConfigError, match=text):
        check_lengths(settings, document.source)


def test_closed_parts_are_stale_when_lengths_were_changed(document: Document) -> None:
    parts, done = document.completed_of, document.completed
    assert parts is not None
    run = Run("generate", "geometric", "", {"plug": 0.1, "clearance": 0.0, "wall": 0.0}, {}, 0.1)
    document.set_completion(parts, done, run)
    same = GenerateOptions(geometric=CompletionSettings(plug=0.3 / 3))
    assert not is_stale(document, same)
    assert is_stale(document, GenerateOptions())
    neural = replace(run, engine="xpart", settings={"steps": 50})
    document.set_completion(parts, done, neural)
    assert not is_stale(document, GenerateOptions(geometric=CompletionSettings(plug=0.7)))


def test_only_parts_with_faces_of_the_input_have_cut_surfaces(document: Document) -> None:
    def primitives(done: CompletedPart) -> list[dict[str, object]]:
        parts, run = document.completed_of, document.completion
        assert parts is not None
        assert run is not None
        document.set_completion(parts, (done,), run)
        content = results.view_glb(document, results.COMPLETED)
        length = int.from_bytes(content[12:16], "little")
        (mesh,) = json.loads(content[20 : 20 + length])["meshes"]
        made: list[dict[str, object]] = mesh["primitives"]
        return made

    whole = document.completed[0]
    capped = replace(whole, source_faces=whole.source_faces[:8])
    made_anew = replace(whole, source_faces=whole.source_faces[:0])
    assert [p.get("extras") for p in primitives(capped)] == [None, {"is_cut": True}]
    assert [p.get("extras") for p in primitives(whole)] == [None]
    assert [p.get("extras") for p in primitives(made_anew)] == [None]
    saved = results.download(document, results.COMPLETED, "parts.glb")
    assert b"is_cut" not in saved
