"""What each idea of the built-in engine is worth: its parts with one idea changed at a time.

Use: python benchmarks/quality_variants.py [--psb FOLDER] [--fused FOLDER] [--joined FOLDER]
[--assemblies N] [--most N] [--only VARIANT …]; prints a table and writes it to results/. Each mesh
is cut to pieces once; every variant joins the same pieces. `quality_variant_list.py` has the list.
"""

import argparse
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

if __package__ in (None, ""):
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from benchmarks.common import Payload, file_stem, header, machine_name, say, write_result
from benchmarks.quality import ENVIRONMENT, chosen_cases, side_by_side, source_parser
from benchmarks.quality_case import FAULT, failed, row_of, true_parts, without_figures
from benchmarks.quality_rows import share, table_row
from benchmarks.quality_sources import INDEXED, SOURCES, Case, Subject, load_case
from benchmarks.quality_summary import HALVES, halves, means
from benchmarks.quality_variant_list import (
    VARIANTS,
    Variant,
    changed,
    joining_of,
    new_values,
    smaller,
)
from partwise.core.errors import AppError, ConfigError
from partwise.core.progress import StageClock, ignore_progress
from partwise.geometric.merge_tree import MergeTree
from partwise.geometric.part_tree import labels_for
from partwise.geometric.pieces import ATOM_COUNT, Pieces, cut_to_pieces
from partwise.geometric.scorer import PartScorer, built_in_scorer
from partwise.geometric.segment import SegmentSettings, join_pieces, part_tree
from partwise.geometry.topology import Ints

MEASURES = ("rand_error", "mean_iou", "mean_iou_area", "matched_iou", "parts", "true_parts")
GIVEN = "matched_iou_given"
MATCHED_HALVES = tuple(f"matched_iou_{half}" for half in HALVES)
TITLES = {
    "matched_iou": "hIoU",
    "mean_iou": "mIoU",
    "mean_iou_area": "mIoU by area",
    GIVEN: "hIoU, true number given",
    **{key: f"hIoU {half}" for key, half in zip(MATCHED_HALVES, HALVES, strict=True)},
}
SHOWN = {
    **dict.fromkeys(INDEXED, ("matched_iou", "mean_iou", *MATCHED_HALVES)),
    "fused": ("matched_iou", "mean_iou", GIVEN),
    "joined": ("matched_iou", "mean_iou_area"),
    "assemblies-fused": ("matched_iou",),
    "assemblies-joined": ("matched_iou",),
}


@dataclass(frozen=True)
class Comparison:
    """What to compare on a mesh."""

    variants: tuple[Variant, ...]
    scorer: PartScorer


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, write the result file; returns 1 when a mesh failed."""
    options = _parser().parse_args(arguments)
    os.environ.update(ENVIRONMENT)
    try:
        cases = chosen_cases(options, most=options.most)
        wanted = Comparison(chosen_variants(options.only), built_in_scorer())
    except AppError as err:
        say(err.message)
        return 2
    machine = options.machine or machine_name()
    payload = header(machine)
    started = time.perf_counter()
    found: list[Payload] = []
    for one in side_by_side(compare, [(case, wanted) for case in cases], options.workers):
        found.append(one)
        say(f"{len(found)}/{len(cases)} {line(one)}")
    found.sort(key=lambda one: (one["source"], one["place"]))
    payload["quality_variants"] = summarize(found, wanted.variants)
    payload["total_s"] = round(time.perf_counter() - started, 1)
    say("\n" + table(payload))
    path = write_result(options.results, f"{file_stem(machine)}.quality-variants", payload)
    say(f"Written after {payload['total_s']} s: {path.name}")
    return int(any(one["errors"] for one in found))


def _parser() -> argparse.ArgumentParser:
    parser = source_parser((__doc__ or "").splitlines()[0])
    parser.add_argument("--most", type=int, metavar="N", help="meshes of each source; default: all")
    parser.add_argument("--only", nargs="*", metavar="VARIANT", help="variants by name")
    return parser


def chosen_variants(names: Sequence[str] | None) -> tuple[Variant, ...]:
    """The variants of these names, or all; raises `ConfigError` for a name that none has."""
    known = [variant.name for variant in VARIANTS]
    unknown = [name for name in names or () if name not in known]
    if unknown:
        raise ConfigError(f"There is no variant {unknown[0]}. Name some of: {', '.join(known)}.")
    return tuple(variant for variant in VARIANTS if not names or variant.name in names)


def compare(case: Case, wanted: Comparison) -> Payload:
    """The figures of all variants on a mesh, as `rows` by name; of none where the mesh fails."""
    try:
        return without_figures(case) | {"rows": rows_of(load_case(case), wanted)}
    except AppError as err:
        return failed(case, err.message)


def rows_of(subject: Subject, wanted: Comparison) -> dict[str, dict[str, float]]:
    """For each variant by name its `MEASURES`, and hIoU with the true number of parts given."""
    settings = SegmentSettings()
    pieces = cut_to_pieces(
        subject.vertices,
        subject.faces,
        working_faces=settings.working_faces,
        seed=settings.seed,
        clock=StageClock(ignore_progress),
    )
    true_count = round(true_parts(subject.truths))
    joined: dict[tuple[object, ...], tuple[Ints, MergeTree]] = {}
    rows = {}
    for variant in wanted.variants:
        joining = joining_of(variant)
        with changed(variant):
            if joining not in joined:
                joined[joining] = _joined(pieces, wanted.scorer, variant)
            tree = part_tree(pieces, *joined[joining])
            own = asdict(row_of(labels_for(tree, detail=settings.detail), subject, 0.0))
        given = row_of(tree.cut(true_count), subject, 0.0)
        rows[variant.name] = {key: own[key] for key in MEASURES} | {GIVEN: given.matched_iou}
    return rows


def _joined(pieces: Pieces, scorer: PartScorer, variant: Variant) -> tuple[Ints, MergeTree]:
    return join_pieces(pieces, smaller(scorer, variant.members), ATOM_COUNT)


def line(one: Payload) -> str:
    """How the first variant, the worst and the best did on a mesh, or why none did."""
    named = f"{one['source']} {one['name']}: "
    if one["errors"]:
        return named + str(one["errors"][FAULT])
    scores = {name: row["matched_iou"] for name, row in one["rows"].items()}
    ranked = sorted(scores, key=scores.__getitem__)
    shown = dict.fromkeys((next(iter(scores)), ranked[0], ranked[-1]))
    return named + "hIoU " + ", ".join(f"{share(scores[name])} {name}" for name in shown)


def summarize(found: list[Payload], variants: Sequence[Variant]) -> Payload:
    """By variant, what it changes and its means for each source; by source, its meshes."""
    by_source = {
        source: [one for one in found if one["source"] == source]
        for source in SOURCES
        if any(one["source"] == source for one in found)
    }
    return {
        "sources": {source: _source(source, mine) for source, mine in by_source.items()},
        "variants": {
            variant.name: {
                "why": variant.why,
                "constants": {name: round(value, 6) for name, value in new_values(variant).items()},
                "members": variant.members,
                "sources": {
                    source: _figures(source, mine, variant.name)
                    for source, mine in by_source.items()
                },
            }
            for variant in variants
        },
    }


def _source(source: str, found: list[Payload]) -> Payload:
    return {
        "title": SOURCES[source].title,
        "meshes": len(found),
        "errors": {one["name"]: one["errors"][FAULT] for one in found if one["errors"]},
    }


def _figures(source: str, found: list[Payload], variant: str) -> Payload:
    figures = means(found, variant)
    if source in INDEXED:
        both = halves(found, variant)
        for key, half in zip(MATCHED_HALVES, HALVES, strict=True):
            if both[half]:
                figures[key] = both[half]["matched_iou"]
    return figures


def table(payload: Payload) -> str:
    """A line for each variant, a column for each source, as Markdown."""
    result = payload["quality_variants"]
    heads = [
        f"{source}; meshes: {figures['meshes']}; "
        + " / ".join(TITLES[key] for key in SHOWN[source])
        for source, figures in result["sources"].items()
    ]
    lines = [table_row("variant", *heads), "|---" * (len(heads) + 1) + "|\n"]
    for name, variant in result["variants"].items():
        cells = (_cell(source, figures) for source, figures in variant["sources"].items())
        lines.append(table_row(name, *cells))
    return "".join(lines)


def _cell(source: str, figures: Payload) -> str:
    return " / ".join(share(figures[key]) if key in figures else "–" for key in SHOWN[source])


if __name__ == "__main__":
    sys.exit(main())
