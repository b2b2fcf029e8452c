"""What each idea of the built-in engine is worth: the list of variants, and one run of two."""

import ast
import json
from importlib import import_module
from pathlib import Path

import manifold3d as m3
import numpy as np
import pytest
import trimesh

from benchmarks import quality, quality_variants
from benchmarks.quality_case import row_of, true_parts
from benchmarks.quality_sources import Case, labelled_folder, load_case
from benchmarks.quality_variant_list import (
    AS_BUILT,
    ENGINE,
    VARIANTS,
    Variant,
    changed,
    new_values,
    smaller,
    to,
)
from benchmarks.quality_variants import Comparison, chosen_variants, compare, summarize
from partwise.core.errors import ConfigError
from partwise.core.progress import StageClock, ignore_progress
from partwise.geometric import segment
from partwise.geometric.affinity import FEATURE_COUNT
from partwise.geometric.pieces import Pieces, cut_to_pieces
from partwise.geometric.scorer import Committee, Layers, PartScorer, Standard
from partwise.geometric.segment import SegmentSettings, join_pieces, part_tree, segment_mesh
from partwise.geometry.topology import Floats

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]
CONSTANTS = sorted({name for variant in VARIANTS for name in variant.changes})
BY_NAME = {variant.name: variant for variant in VARIANTS}


def constant(name: str) -> object:
    module, _, word = name.partition(".")
    return getattr(import_module(f"{ENGINE}.{module}"), word)


def random_scorer(seed: int) -> PartScorer:
    rng = np.random.default_rng(seed)

    def layers() -> Layers:
        sizes = ((FEATURE_COUNT, 8), (8, 1))
        return tuple((rng.normal(0, 0.5, size), rng.normal(0, 0.5, size[1])) for size in sizes)

    def committee() -> Committee:
        standard = Standard(np.zeros(FEATURE_COUNT), np.ones(FEATURE_COUNT))
        return Committee(standard, tuple(layers() for _ in range(3)))

    return PartScorer(committee(), committee())


def pile(seed: int) -> trimesh.Trimesh:
    """A body of three boxes that run through each other, and a small one beside it."""
    rng = np.random.default_rng(seed)
    boxes = [m3.Manifold.cube((0.3, 0.4, 0.5), True).translate((0.9, 0, 0))]
    for _ in range(3):
        size, place = rng.uniform(0.2, 0.9, 3), rng.uniform(-0.3, 0.3, 3)
        boxes.append(m3.Manifold.cube(size.tolist(), True).translate(place.tolist()))
    made = m3.Manifold.batch_boolean(boxes, m3.OpType.Add).to_mesh64()
    return trimesh.Trimesh(made.vert_properties[:, :3], made.tri_verts, process=False)


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three piles that two people labelled; the last has too few labels."""
    folder: Path = tmp_path_factory.mktemp("people")
    names = ["pile_1", "pile_2", "wrong_3"]
    (folder / "index.json").write_text(json.dumps([{"set": "psb", "name": name} for name in names]))
    for seed, name in enumerate(names):
        surface = pile(seed)
        surface.export(folder / f"{name}.ply")
        sides = surface.triangles_center > np.array([0.6, 0.0, 0.2])
        labels = np.stack([sides[:, 0] + 2 * sides[:, 2], sides[:, 0] * 1]).astype(np.uint8)
        np.savez(folder / f"{name}.gt.npz", labels=labels[:, name == "wrong_3" :])
    return folder


@pytest.fixture(scope="module")
def pieces(people: Path) -> Pieces:
    subject = load_case(labelled_folder(people)[0])
    clock = StageClock(ignore_progress)
    return cut_to_pieces(subject.vertices, subject.faces, working_faces=20_000, seed=0, clock=clock)


def test_variants_have_names_and_values_of_their_own() -> None:
    settings = [(variant.members, sorted(new_values(variant).items())) for variant in VARIANTS]

    assert VARIANTS[0] == Variant(AS_BUILT, VARIANTS[0].why)
    assert len(BY_NAME) == len(VARIANTS)
    assert all(settings.count(one) == 1 for one in settings)


@pytest.mark.parametrize("variant", VARIANTS[1:], ids=lambda variant: variant.name)
def test_a_variant_changes_constants_that_the_engine_has(variant: Variant) -> None:
    built = {name: constant(name) for name in variant.changes}
    values = new_values(variant)

    with changed(variant):
        now = {name: constant(name) for name in variant.changes}

    assert now == values
    assert all(name.rpartition(".")[2].isupper() and now[name] != built[name] for name in now)
    assert now or variant.members


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.name)
def test_the_engine_is_as_built_after_a_failure(variant: Variant) -> None:
    before = {name: constant(name) for name in CONSTANTS}

    with pytest.raises(RuntimeError), changed(variant):
        raise RuntimeError("in the midst of it")

    assert {name: constant(name) for name in CONSTANTS} == before


def test_a_constant_that_the_engine_lacks_is_refused_before_any_is_changed() -> None:
    built = constant("agglomerate.CREASE")
    wrong = Variant("a", "b", {"agglomerate.CREASE": to(9.0), "agglomerate.NO_SUCH": to(1.0)})

    with pytest.raises(AttributeError, match="NO_SUCH"), changed(wrong):
        pytest.fail("a constant was made up")

    assert constant("agglomerate.CREASE") == built


def test_no_module_has_a_copy_of_a_constant_that_variants_change() -> None:
    watched = {(f"{ENGINE}.{module}", word) for module, _, word in map(partitioned, CONSTANTS)}
    copies = [
        (file.name, name.name)
        for file in (ROOT / "partwise").rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom)
        for name in node.names
        if (node.module, name.name) in watched
    ]

    assert copies == []


def partitioned(name: str) -> tuple[str, str, str]:
    return name.partition(".")


def prices(pieces: Pieces, variant: Variant, seed: int) -> Floats:
    """What the engine reckons with the variant's constants: prices of merges, merits of cuts."""
    with changed(variant):
        leaves, tree = join_pieces(pieces, smaller(random_scorer(seed), variant.members), 200)
        return np.concatenate([tree.heights, part_tree(pieces, leaves, tree).scores])


def test_each_variant_changes_what_the_engine_reckons(pieces: Pieces) -> None:
    built = prices(pieces, BY_NAME[AS_BUILT], 0)

    same = [one.name for one in VARIANTS if np.array_equal(prices(pieces, one, 0), built)]

    assert same == [AS_BUILT]


def test_where_nothing_learned_counts_any_scorer_gives_the_same(pieces: Pieces) -> None:
    without, built = (
        [prices(pieces, BY_NAME[name], seed) for seed in (0, 1)]
        for name in ("nothing learned", AS_BUILT)
    )

    assert np.array_equal(without[0], without[1])
    assert not np.array_equal(built[0], built[1])


def test_a_smaller_committee_asks_its_first_perceptrons() -> None:
    scorer = random_scorer(0)
    features = np.random.default_rng(0).normal(size=(5, FEATURE_COUNT))

    alone = smaller(scorer, 1).bodies.differ(features)

    assert len(smaller(scorer, 1).pieces.members) == 1
    assert not np.allclose(alone, scorer.bodies.differ(features))
    assert np.array_equal(
        smaller(scorer, None).bodies.differ(features), scorer.bodies.differ(features)
    )


def test_variants_are_chosen_by_name_in_the_order_of_the_list() -> None:
    chosen = chosen_variants(["finer", AS_BUILT])

    assert [variant.name for variant in chosen] == [AS_BUILT, "finer"]
    assert chosen_variants(None) == VARIANTS
    with pytest.raises(ConfigError, match="no variant finest"):
        chosen_variants(["finest"])


def test_a_mesh_that_fails_counts_for_no_variant(people: Path) -> None:
    wanted = Comparison(VARIANTS[:2], random_scorer(0))

    one = compare(labelled_folder(people)[2], wanted)

    result = summarize([one], wanted.variants)
    assert "Give one for each face" in result["sources"]["psb"]["errors"]["wrong_3"]
    assert result["variants"][AS_BUILT]["sources"]["psb"] == {}


def expected(case: Case, variant: Variant) -> tuple[float, float, float]:
    """hIoU, the number of parts, and hIoU with the true number given, by the engine's own way."""
    subject = load_case(case)
    with changed(variant):
        made = segment_mesh(subject.vertices, subject.faces, settings=SegmentSettings())
    own = row_of(made.face_labels, subject, 0.0)
    given = row_of(made.tree.cut(round(true_parts(subject.truths))), subject, 0.0)
    return own.matched_iou, own.parts, given.matched_iou


def test_a_run_gives_what_the_engine_gives_with_these_constants(
    people: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in quality.ENVIRONMENT:
        monkeypatch.setenv(name, "1")  # the run sets them; they are put back afterwards
    for module in (quality_variants, segment):
        monkeypatch.setattr(module, "built_in_scorer", lambda: random_scorer(0))
    names = [AS_BUILT, "coarser"]

    options = [f"--psb={people}", f"--results={tmp_path}", "--machine=A 1", "--workers=1"]
    status = quality_variants.main([*options, "--only", *names])

    payload = json.loads((tmp_path / "a-1.quality-variants.json").read_text(encoding="utf-8"))
    printed = capsys.readouterr().out
    result = payload["quality_variants"]
    assert status == 1  # one of the meshes has labels that do not fit
    assert list(result["sources"]["psb"]["errors"]) == ["wrong_3"]
    assert list(result["variants"]) == names
    for name in names:
        found = result["variants"][name]["sources"]["psb"]
        even, odd = (expected(case, BY_NAME[name]) for case in labelled_folder(people)[:2])
        both = np.mean([even, odd], axis=0)
        keys = ("matched_iou", "parts", "matched_iou_given")
        assert [found[key] for key in keys] == pytest.approx(both, abs=1e-4)
        assert found["meshes"] == 2
        assert found["matched_iou_even"] == pytest.approx(even[0], abs=1e-4)
        assert found["matched_iou_odd"] == pytest.approx(odd[0], abs=1e-4)
    assert quality_variants.table(payload) in printed
    assert "3/3 psb" in printed
    assert str(people) not in printed
