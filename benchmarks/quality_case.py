"""One labelled mesh through every method and through completion; run in a process of its own."""

import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from benchmarks import quality_methods as methods
from benchmarks.common import Payload
from benchmarks.part_scores import PartScores, overlap, part_scores, scores_of
from benchmarks.quality_closing import judge_closing
from benchmarks.quality_sources import SOURCES, Case, Subject, load_case
from partwise.core.errors import AppError
from partwise.geometric.complete import complete_parts
from partwise.geometry.labels import sum_by_group
from partwise.geometry.topology import Floats, Ints, face_areas

FAULT = "fault"  # in `errors`: the mesh or the engine failed, not a peer


@dataclass(frozen=True)
class Wanted:
    """What to measure: a limit in seconds for CoACD, 0 = without it; whether to close parts."""

    hull_limit_s: float = 0.0
    with_closing: bool = True


@dataclass(frozen=True)
class Row:
    """A method on one mesh: means over its labellings, and how long it took.

    parts: how many it gave. true_parts: median over the labellings.
    """

    rand_error: float
    mean_iou: float
    mean_iou_area: float
    matched_iou: float
    parts: float
    true_parts: float
    seconds: float


def judge_case(case: Case, wanted: Wanted) -> Payload:
    """All figures of a mesh: `rows` by method, `closing`, `errors` by what failed."""
    out = without_figures(case)
    try:
        subject = load_case(case)
    except AppError as err:
        return failed(case, err.message)
    rows, errors = out["rows"], out["errors"]
    count = SOURCES[case.source].typical_parts
    for name, method in methods.SIMPLE.items():
        rows[name] = _timed(subject, partial(method, *_mesh(subject), count))
    if len(subject.truths) > 1:
        rows[methods.PEOPLE] = people(subject)
    if wanted.hull_limit_s > 0:
        _add_hulls(subject, wanted.hull_limit_s, rows, errors)
    try:
        _add_engine(subject, wanted, out)
    except AppError as err:
        errors[FAULT] = err.message
    out["rows"] = {name: asdict(row) for name, row in rows.items()}
    return out


def failed(case: Case, why: str) -> Payload:
    """The figures of a mesh that has none."""
    return without_figures(case) | {"errors": {FAULT: why}}


def without_figures(case: Case) -> Payload:
    """The name of a mesh, with room for its figures."""
    named = {"source": case.source, "name": case.name, "kind": case.kind, "place": case.place}
    return named | {"rows": {}, "errors": {}, "closing": None}


def _mesh(subject: Subject) -> tuple[Floats, Ints]:
    return subject.vertices, subject.faces


def _add_hulls(
    subject: Subject, limit_s: float, rows: dict[str, Row], errors: dict[str, str]
) -> None:
    started = time.perf_counter()
    labels = methods.hull_parts(*_mesh(subject), limit_s)
    if labels is None:
        errors[methods.HULLS] = f"no result within {limit_s:g} s"
    else:
        rows[methods.HULLS] = row_of(labels, subject, time.perf_counter() - started)


def _add_engine(subject: Subject, wanted: Wanted, out: Payload) -> None:
    rows: dict[str, Row] = out["rows"]
    started = time.perf_counter()
    made = methods.built_in(*_mesh(subject))
    rows[methods.OWN] = row_of(made.face_labels, subject, time.perf_counter() - started)
    true_count = round(true_parts(subject.truths))
    rows[methods.GIVEN] = _timed(subject, lambda: made.tree.cut(true_count))
    if methods.HULLS in rows:
        rows[methods.OWN_THERE] = rows[methods.OWN]
    if wanted.with_closing:
        completion = complete_parts(*_mesh(subject), made.face_labels)
        out["closing"] = asdict(judge_closing(*_mesh(subject), completion))


def _timed(subject: Subject, work: Callable[[], NDArray[np.integer]]) -> Row:
    started = time.perf_counter()
    labels = work()
    return row_of(labels, subject, time.perf_counter() - started)


def row_of(labels: NDArray[np.integer], subject: Subject, seconds: float) -> Row:
    """The scores of (F,) labels, as means over the labellings of the mesh."""
    areas = face_areas(*_mesh(subject))
    scores = [part_scores(labels, truth, areas) for truth in subject.truths]
    return _mean(scores, true_parts(subject.truths), seconds)


def people(subject: Subject) -> Row:
    """Each labelling scored against all others."""
    truths, areas = subject.truths, face_areas(*_mesh(subject))
    areas = np.maximum(areas, 1e-12 * float(areas.sum()))
    alike, group = np.unique(truths, axis=1, return_inverse=True)
    weights = np.stack([np.ones(len(areas)), areas], axis=1)
    faces, areas = sum_by_group(group.ravel(), weights, alike.shape[1]).T
    found = [
        scores_of(overlap(one, other, faces), overlap(one, other, areas))
        for i, one in enumerate(alike)
        for j, other in enumerate(alike)
        if i != j
    ]
    return _mean(found, true_parts(truths), 0.0)


def _mean(scores: list[PartScores], true_count: float, seconds: float) -> Row:
    def mean(values: Iterable[float]) -> float:
        return float(np.mean(list(values)))

    return Row(
        rand_error=mean(score.rand_error for score in scores),
        mean_iou=mean(score.mean_iou for score in scores),
        mean_iou_area=mean(score.mean_iou_area for score in scores),
        matched_iou=mean(score.matched_iou for score in scores),
        parts=mean(score.count for score in scores),
        true_parts=true_count,
        seconds=seconds,
    )


def true_parts(truths: Ints) -> float:
    """Median number of parts over the (S, F) labellings."""
    return float(np.median([len(np.unique(truth)) for truth in truths]))
