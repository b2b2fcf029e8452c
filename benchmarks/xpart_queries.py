"""Places of the field evaluated by X-Part's search against the published rule, on analytic fields.

Use: python benchmarks/xpart_queries.py [--quick] [--resolutions 256 512] [--dense-up-to 256].
No weights: the fields are shapes whose surface is known; both searches use one marching cubes.
"""

import argparse
import sys
import time
import tracemalloc
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

if __package__ in (None, ""):
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from benchmarks.common import RESULTS, Payload, file_stem, header, machine_name, say, write_result
from benchmarks.xpart_fields import NARROW, WIDE, Shape, plate, shapes, sphere
from partwise.geometry.topology import Floats, is_watertight
from partwise.xpart.band import evaluate_all, evaluate_band
from partwise.xpart.extract import surface_of_grid
from partwise.xpart.field import Field, Grid
from partwise.xpart.follow import follow_surface

TOLERANCE = 1e-5  # of the networks' frame
RESOLUTIONS = (256, 512)
_MIB = 2**20


@dataclass(frozen=True)
class Search:
    """What one search took. search_s, extract_s: without the seconds in the field itself.

    peak_bytes: the most that numpy held at once, the field's own work included.
    """

    query_count: int
    search_s: float
    extract_s: float
    peak_bytes: int


@dataclass(frozen=True)
class Row:
    """One field at one resolution: our search, the published rule, and all points where affordable.

    vertex_distance: the largest from a vertex of one surface to the other's nearest, in the
    networks' frame. dense_distance: of ours to that of all points; None where not computed.
    """

    shape: str
    slope: float
    resolution: int
    ours: Search
    published: Search
    vertex_count: int
    published_vertex_count: int
    vertex_distance: float
    is_watertight: bool
    dense_vertex_count: int | None = None
    dense_distance: float | None = None

    @property
    def ratio(self) -> float:
        """Our queries over the published ones."""
        return self.ours.query_count / self.published.query_count

    @property
    def is_equal(self) -> bool:
        """Whether ours has the vertices of the other surfaces, each within 1e-5."""
        is_like_published = (
            self.vertex_count == self.published_vertex_count and self.vertex_distance <= TOLERANCE
        )
        if self.dense_distance is None:
            return is_like_published
        is_dense = self.vertex_count == self.dense_vertex_count
        return is_like_published and is_dense and self.dense_distance <= TOLERANCE


class _TimedField:
    """A field with the places and the seconds it was asked for."""

    def __init__(self, field: Field) -> None:
        self.query_count = 0
        self.seconds = 0.0
        self._field = field

    def __call__(self, places: NDArray[np.float32]) -> NDArray[np.float32]:
        started = time.perf_counter()
        values = self._field(places)
        self.seconds += time.perf_counter() - started
        self.query_count += len(places)
        return values


def measure_queries(
    resolutions: Sequence[int] = RESOLUTIONS,
    *,
    fields: Sequence[Shape] | None = None,
    slopes: Sequence[float] = (WIDE, NARROW),
    dense_up_to: int = 256,
    tell: Callable[[Row], None] | None = None,
) -> list[Row]:
    """A row for each field, slope and resolution."""
    rows = []
    for resolution in resolutions:
        for shape in fields or shapes():
            for slope in slopes:
                rows.append(measure_row(shape, slope, resolution, dense_up_to=dense_up_to))
                if tell is not None:
                    tell(rows[-1])
    return rows


def measure_row(shape: Shape, slope: float, resolution: int, *, dense_up_to: int = 256) -> Row:
    """One field at one resolution, by both searches, and at all points up to `dense_up_to`."""
    field = shape.field(slope)
    ours, mine, is_closed = _run(
        field, lambda asked: follow_surface(asked, shape.aabb, resolution, _unwatched)
    )
    published, theirs, _ = _run(field, lambda asked: evaluate_band(asked, resolution, _unwatched))
    dense: Floats | None = None
    if resolution <= dense_up_to:
        dense = surface_of_grid(evaluate_all(field, resolution))[0]
    return Row(
        shape.name,
        slope,
        resolution,
        ours,
        published,
        len(mine),
        len(theirs),
        vertex_distance(mine, theirs),
        is_closed,
        None if dense is None else len(dense),
        None if dense is None else vertex_distance(mine, dense),
    )


def _run(field: Field, search: Callable[[Field], Grid]) -> tuple[Search, Floats, bool]:
    """What a search took, its vertices, and whether its surface is closed."""
    asked = _TimedField(field)
    tracemalloc.start()
    started = time.perf_counter()
    grid = search(asked)
    searched = time.perf_counter()
    vertices, faces = surface_of_grid(grid)
    extracted = time.perf_counter()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    search_s = searched - started - asked.seconds
    took = Search(asked.query_count, search_s, extracted - searched, peak)
    return took, vertices, is_watertight(faces)


def vertex_distance(first: Floats, second: Floats) -> float:
    """The largest distance from a vertex of one to the other's nearest; infinite without any."""
    if np.array_equal(first, second):
        return 0.0
    if not len(first) or not len(second):
        return float("inf")
    there = cKDTree(second).query(first)[0].max()
    back = cKDTree(first).query(second)[0].max()
    return float(max(there, back))


def to_json(row: Row) -> Payload:
    """A row for a result file."""
    return {**asdict(row), "ratio": round(row.ratio, 4), "is_equal": row.is_equal}


def line(row: Row) -> str:
    """A row as printed."""
    ours, published = row.ours, row.published
    dense = "" if row.dense_distance is None else f", to all points {row.dense_distance:.1e}"
    return (
        f"{row.shape:26} s {row.slope:<3g} {row.resolution:5} "
        f"{published.query_count / 1e6:7.2f} → {ours.query_count / 1e6:5.2f} M ({row.ratio:.3f})  "
        f"search {published.search_s:5.1f} → {ours.search_s:4.1f} s, "
        f"extract {ours.extract_s:.1f} s, "
        f"peak {published.peak_bytes / _MIB:5.0f} → {ours.peak_bytes / _MIB:4.0f} MiB  "
        f"{row.vertex_count} vertices, {'equal' if row.is_equal else 'NOT EQUAL'} "
        f"({row.vertex_distance:.1e}{dense})"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, write the result file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="two fields at 256")
    parser.add_argument("--resolutions", type=int, nargs="+", default=list(RESOLUTIONS))
    parser.add_argument("--dense-up-to", type=int, default=256, help="compare with all points")
    parser.add_argument("--machine", help="the machine's name; default: cores, memory, processor")
    parser.add_argument("--results", type=Path, default=RESULTS, help="the folder of result files")
    options = parser.parse_args(arguments)
    machine = options.machine or machine_name()
    rows = measure_queries(
        [256] if options.quick else options.resolutions,
        fields=[sphere(), plate(0.8, offset=0.5)] if options.quick else None,
        dense_up_to=options.dense_up_to,
        tell=lambda row: say(line(row)),
    )
    payload = {**header(machine), "xpart_queries": [to_json(row) for row in rows]}
    say(str(write_result(options.results, f"{file_stem(machine)}.xpart-queries", payload)))
    return 0


def _unwatched(_: float) -> None:
    """The search is not watched here."""


if __name__ == "__main__":
    sys.exit(main())
