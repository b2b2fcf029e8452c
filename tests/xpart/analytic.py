"""What the tests of X-Part's search share; the fields are those of `benchmarks/xpart_fields.py`."""

import numpy as np

from benchmarks.xpart_fields import Shape
from partwise.xpart.field import HALF_WIDTH, CountedField, Field, Grid, points_between


def unwatched(_: float) -> None:
    pass


def counted(field: Field) -> CountedField:
    return CountedField(field, lambda: None)


def all_points_of_box(shape: Shape, slope: float, resolution: int) -> Grid:
    """All points of a shape's box and two cells around."""
    cells = (shape.aabb.astype(np.float64) + HALF_WIDTH) * (resolution / (2 * HALF_WIDTH))
    low, high = cells.astype(np.int64)
    grid = Grid(resolution)
    grid.want(points_between(low - 2, high + 3))
    grid.evaluate(shape.field(slope))
    return grid
