"""What the Generate tab says of printing: the printed size, pegs, what is too thin or left out."""

from dataclasses import replace
from html import escape

from partwise.geometric.complete import CompletionSettings
from studio import results
from studio.document import Document
from studio.part_rows import PartRow
from studio.print_size import in_three_digits, largest_side, mm_per_unit
from studio.printing import area_words, left_out, names_of, size_words, thin_words, volume_words
from studio.ui.viewer import ViewerPart

_NAMED = 6  # parts that a warning names one by one


def print_html(document: Document | None, settings: CompletionSettings) -> str:
    """The lines below the settings; empty before there are parts."""
    if document is None or document.parts is None:
        return ""
    lines = [f"Printed, the object is {size_words(document)}.{_fit_words(document, settings)}"]
    if document.completed_of is None:
        return _line(lines[0])
    rows = results.part_rows(document, results.COMPLETED)
    volumes = [row.printed.volume_mm3 or 0.0 for row in rows if row.printed is not None]
    lines[0] += f" Closed parts together: {volume_words(sum(volumes))}."
    return _line(lines[0]) + "".join(_line(words, "pw-warn") for words in _warnings(document, rows))


def _line(words: str, more: str = "") -> str:
    return f"<p class='{' '.join(('pw-plan', more)).strip()}'>{escape(words)}</p>"


def _fit_words(document: Document, settings: CompletionSettings) -> str:
    """The lengths that the built-in engine is given, in all three ways to say them."""
    told = []
    if settings.plug:
        told.append(f"pegs {_length(document, settings.plug)} long")
        told.append(f"a gap of {_length(document, settings.clearance)} around them")
    if settings.wall:
        told.append(f"sheets made {_length(document, settings.wall)} thick")
    return f" Built-in engine: {'; '.join(told)}." if told else ""


def _length(document: Document, units: float) -> str:
    millimetres = units * mm_per_unit(document.source, document.printing)
    share = 100 * units / largest_side(document.source)
    return (
        f"{in_three_digits(millimetres)} mm ({in_three_digits(units)} units, "
        f"{in_three_digits(share)} % of the object)"
    )


def _warnings(document: Document, rows: list[PartRow]) -> list[str]:
    """What a maker has to know before printing."""
    told = []
    thin = sorted(
        (row.printed.thickness_mm or 0.0, row.part.name)
        for row in rows
        if row.printed is not None and row.printed.is_too_thin
    )
    if thin:
        least = in_three_digits(document.printing.least_wall_mm)
        each = [f"{name} ({in_three_digits(thickness)} mm)" for thickness, name in thin[:_NAMED]]
        more = f" and {len(thin) - _NAMED} more" if len(thin) > _NAMED else ""
        told.append(f"Too thin to print, under {least} mm: {', '.join(each)}{more}.")
    if missing := left_out(document):
        told.append(f"Not closed, so not in the 3MF: {names_of(missing, _NAMED)}.")
    return told


def with_print_facts(part: ViewerPart, row: PartRow, document: Document) -> ViewerPart:
    """A row of the viewer's table with what a finished part is on the plate."""
    printed = row.printed
    if printed is None:
        return part
    volume = "" if printed.volume_mm3 is None else volume_words(printed.volume_mm3)
    warning = thin_words(printed, document.printing)
    return replace(part, volume=volume, area=area_words(printed.area_mm2), warning=warning)
