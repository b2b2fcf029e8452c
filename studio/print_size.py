"""How large the object is printed, and lengths as a person writes and reads them.

Lengths of a mesh have no known unit, so a person says how large the whole object is to be.
"""

import math
from dataclasses import dataclass

from partwise.core.errors import ConfigError
from partwise.geometry.mesh_io import SourceMesh

AS_IN_FILE = "file"  # in place of a printed size
_LARGEST_MM = 1e6
_MM = {  # of the units that a 3MF declares; other formats tell none, or one that nobody keeps to
    "micrometre": 1e-3,
    "millimetre": 1.0,
    "centimetre": 10.0,
    "inch": 25.4,
    "foot": 304.8,
    "metre": 1000.0,
}


@dataclass(frozen=True)
class Printing:
    """How large the object is printed, and which walls still print.

    size_mm: the object's largest side, None = as in the file: one unit is one millimetre, or what a
    3MF says. least_wall_mm: a part thinner than this is warned of; 0 = none is.
    """

    size_mm: float | None = 100.0
    least_wall_mm: float = 0.8

    def __post_init__(self) -> None:
        if self.size_mm is not None and not 0 < self.size_mm <= _LARGEST_MM:
            raise ConfigError(
                f"The printed size is {self.size_mm:g} mm. Give the object's largest side in "
                f"millimetres, above 0 and up to {_LARGEST_MM:,.0f}."
            )
        if not 0 <= self.least_wall_mm <= _LARGEST_MM:
            raise ConfigError(
                f"The thinnest wall is {self.least_wall_mm:g} mm. Give millimetres, 0 or more."
            )


def read_printing(size: str = "", least_wall: str = "") -> Printing:
    """Settings that a person or a program wrote; empty = the default, size “file” = as in the file.

    Raises `ConfigError` for what is no such number.
    """
    given = Printing()
    size_mm = None if size.strip().lower() == AS_IN_FILE else given.size_mm
    if size_mm is not None and size.strip():
        size_mm = read_length("printed size", size, f"millimetres, or “{AS_IN_FILE}”")
    wall = read_length("thinnest wall", least_wall, "millimetres") if least_wall.strip() else None
    return Printing(size_mm, given.least_wall_mm if wall is None else wall)


def read_length(name: str, text: str, wanted: str) -> float:
    """A number with a decimal point or comma; raises `ConfigError` with what is wanted."""
    try:
        value = float(text.strip().replace(",", "."))
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ConfigError(f"The {name} is “{text.strip()[:20]}”. Give {wanted}.")
    return value


def mm_per_unit(mesh: SourceMesh, printing: Printing) -> float:
    """How many millimetres a unit of the mesh is when printed."""
    if printing.size_mm is not None:
        return printing.size_mm / largest_side(mesh)
    return _MM.get(mesh.facts.unit or "", 1.0) if mesh.facts.file_format == "3mf" else 1.0


def largest_side(mesh: SourceMesh) -> float:
    """Of the whole object, in units of the mesh."""
    return max(*mesh.facts.extents, 5e-324)


def in_three_digits(value: float) -> str:
    """A number with three significant digits, without an exponent where it reads well without."""
    if value == 0 or not 1e-3 <= abs(value) < 1e7:
        return f"{value:.3g}"
    digits = 2 - math.floor(math.log10(abs(value)))
    rounded = round(value, digits)
    text = f"{rounded:,.{max(0, digits)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
