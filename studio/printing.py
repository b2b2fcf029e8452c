"""The closed parts as printed things: what is too thin, volumes and areas in words, their 3MF."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from partwise.core.errors import AppError
from partwise.geometric.complete import CompletedPart, PartState
from partwise.geometry.write_3mf import write_3mf
from studio.document import Document, Part, PartSet
from studio.print_size import Printing, in_three_digits, mm_per_unit
from studio.shapes import COMPLETED, closed_shape, export_of


@dataclass(frozen=True)
class PrintedPart:
    """A finished part at its printed size. thickness_mm: None where it was not measured."""

    volume_mm3: float | None
    area_mm2: float
    thickness_mm: float | None
    is_too_thin: bool


def printed_part(document: Document, done: CompletedPart) -> PrintedPart:
    """What a finished part is on the plate."""
    scale = mm_per_unit(document.source, document.printing)
    thickness = scale * done.thickness if math.isfinite(done.thickness) else None
    return PrintedPart(
        volume_mm3=None if done.state is PartState.OPEN else scale**3 * done.volume,
        area_mm2=scale**2 * done.area,
        thickness_mm=thickness,
        is_too_thin=thickness is not None and thickness < document.printing.least_wall_mm,
    )


def thin_words(printed: PrintedPart, printing: Printing) -> str:
    """The warning of a part too thin to print; empty when it is not, or is not known to be."""
    if not printed.is_too_thin or printed.thickness_mm is None:
        return ""
    thickness = in_three_digits(printed.thickness_mm)
    least = in_three_digits(printing.least_wall_mm)
    return f"Too thin to print: {thickness} mm thick in places, under {least} mm."


def volume_words(volume_mm3: float) -> str:
    """A volume for people; above a thousand mm³ in cm³."""
    if volume_mm3 < 1000:
        return f"{in_three_digits(volume_mm3)} mm³"
    return f"{in_three_digits(volume_mm3 / 1e3)} cm³"


def area_words(area_mm2: float) -> str:
    """An area for people; above a thousand mm² in cm²."""
    if area_mm2 < 1000:
        return f"{in_three_digits(area_mm2)} mm²"
    return f"{in_three_digits(area_mm2 / 1e2)} cm²"


def size_words(document: Document) -> str:
    """How large the whole object comes out, and what a unit of the file is then."""
    scale = mm_per_unit(document.source, document.printing)
    sides = " × ".join(in_three_digits(scale * side) for side in document.source.facts.extents)
    return f"{sides} mm; one unit of the file is {in_three_digits(scale)} mm"


def can_print(document: Document) -> bool:
    """Whether there is a closed part."""
    return any(_is_printable(done) for done in document.completed)


def left_out(document: Document) -> tuple[Part, ...]:
    """The parts that were asked for and are in no 3MF, as they are open or were not made."""
    parts = document.completed_of
    if parts is None:
        return ()
    ids = [done.part_id for done in document.completed if not _is_printable(done)]
    return tuple(parts.part(part_id) for part_id in (*ids, *document.missing))


def parts_3mf(document: Document) -> bytes:
    """All closed parts in their places, at the printed size. An open part prints as rubbish or not
    at all, so it is not in the file; the file's description names it.

    Raises `KeyError` before there are results, `AppError` when no part is closed.
    """
    parts = document.completed_of
    if parts is None:
        raise KeyError("there are no closed parts yet")
    printable = [done for done in document.completed if _is_printable(done)]
    if not printable:
        raise AppError("No part is closed, so there is nothing to print.")
    return write_3mf(
        [export_of(closed_shape(parts.part(done.part_id), done), COMPLETED) for done in printable],
        mm_per_unit=mm_per_unit(document.source, document.printing),
        is_y_up=document.source.facts.up_axis == "y",
        title=document.source.name,
        description=_description(document, parts),
    )


def _is_printable(done: CompletedPart) -> bool:
    return done.state is not PartState.OPEN and len(done.faces) > 0


def _description(document: Document, parts: PartSet) -> str:
    words = f"Parts of {document.source.name}: {size_words(document)}."
    missing = left_out(document)
    return words + (f" Not closed, so left out: {names_of(missing)}." if missing else "")


def names_of(parts: Sequence[Part], most: int = 20) -> str:
    """The names in a row, no more than `most` of them."""
    more = f" and {len(parts) - most} more" if len(parts) > most else ""
    return ", ".join(part.name for part in parts[:most]) + more
