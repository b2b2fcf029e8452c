"""Write parts as one 3MF for printing: an object for each, in millimetres, where it belongs.

The core specification alone: objects with their names, a base material for each colour, a build
that places every object. Coordinates are written as they lie on the plate: scaled, turned so that
up is z, the lowest corner of all at the origin. The same parts give the same bytes.
"""

import io
import re
import zipfile
from collections.abc import Sequence
from xml.sax.saxutils import escape

import numpy as np

from partwise.geometry.export import ExportPart
from partwise.geometry.parts import distinct_names
from partwise.geometry.topology import Floats

_CORE = "http://schemas.microsoft.com/3dmanufacturing/core/2015/02"
_MODEL_KIND = "http://schemas.microsoft.com/3dmanufacturing/2013/01/3dmodel"
_PACKAGE = "http://schemas.openxmlformats.org/package/2006"
_MODEL = "3D/3dmodel.model"
_HEAD = '<?xml version="1.0" encoding="UTF-8"?>\n'
_TYPES = (
    f'{_HEAD}<Types xmlns="{_PACKAGE}/content-types">'
    '<Default Extension="rels" '
    'ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
    '<Default Extension="model" '
    'ContentType="application/vnd.ms-package.3dmanufacturing-3dmodel+xml"/></Types>'
)
_RELATIONS = (
    f'{_HEAD}<Relationships xmlns="{_PACKAGE}/relationships">'
    f'<Relationship Target="/{_MODEL}" Id="rel0" Type="{_MODEL_KIND}"/></Relationships>'
)
_MATERIALS = 1  # the number of the list of colours; the objects follow
_NO_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_OLDEST = (1980, 1, 1, 0, 0, 0)  # the first day that a zip can name


def write_3mf(
    parts: Sequence[ExportPart],
    *,
    mm_per_unit: float = 1.0,
    is_y_up: bool = False,
    title: str = "",
    description: str = "",
) -> bytes:
    """A 3MF with one object for each part, in the given order; each has faces.

    Equal names are numbered. mm_per_unit: the size of a unit of the vertices on the plate. is_y_up:
    the vertices' y axis points up, as in glTF. Raises `ValueError` without parts or for a scale
    that is none.
    """
    if not parts or not all(len(part.faces) for part in parts):
        raise ValueError(f"{len(parts)} parts were given; each needs faces, and one there must be")
    if not (np.isfinite(mm_per_unit) and mm_per_unit > 0):
        raise ValueError(f"mm_per_unit is {mm_per_unit}; give a number above 0")
    names = distinct_names([_name(part) for part in parts])
    placed = _placed([part.vertices for part in parts], mm_per_unit, is_y_up)
    first = _MATERIALS + 1
    pieces = [_head(title, description), _materials(parts, names)]
    for i, part in enumerate(parts):
        pieces.append(_object(first + i, names[i], placed[i], part))
    items = "".join(f'<item objectid="{first + i}"/>\n' for i in range(len(parts)))
    pieces.append(f"</resources>\n<build>\n{items}</build>\n</model>\n")
    return _archive("".join(pieces))


def _name(part: ExportPart) -> str:
    """The name without what XML cannot hold; of white space single spaces stay."""
    return " ".join(_NO_XML.sub("", part.name).split()) or f"part {part.part_id}"


def _attribute(text: str) -> str:
    return escape(text, {'"': "&quot;"})


def _placed(vertices: Sequence[Floats], mm_per_unit: float, is_y_up: bool) -> list[Floats]:
    """The (V, 3) float64 vertices of each part in millimetres, z up, none below 0."""
    if is_y_up:
        vertices = [np.stack([v[:, 0], -v[:, 2], v[:, 1]], axis=1) for v in vertices]
    low = np.min([v.min(axis=0) for v in vertices], axis=0)
    return [(v - low) * mm_per_unit for v in vertices]


def _head(title: str, description: str) -> str:
    told = {"Title": title, "Application": "Partwise", "Description": description}
    lines = "".join(
        f'<metadata name="{key}">{escape(_NO_XML.sub("", text))}</metadata>\n'
        for key, text in told.items()
        if text
    )
    return f'{_HEAD}<model unit="millimeter" xml:lang="en" xmlns="{_CORE}">\n{lines}<resources>\n'


def _materials(parts: Sequence[ExportPart], names: Sequence[str]) -> str:
    bases = "".join(
        '<base name="{}" displaycolor="#{:02X}{:02X}{:02X}FF"/>\n'.format(
            _attribute(name), *part.colour
        )
        for part, name in zip(parts, names, strict=True)
    )
    return f'<basematerials id="{_MATERIALS}">\n{bases}</basematerials>\n'


def _object(number: int, name: str, vertices: Floats, part: ExportPart) -> str:
    # 9 digits are finer than a float32, which is what slicers keep.
    vertex = '<vertex x="%.9g" y="%.9g" z="%.9g"/>\n'
    triangle = '<triangle v1="%d" v2="%d" v3="%d"/>\n'
    corners = vertex * len(vertices) % tuple(vertices.ravel().tolist())
    faces = triangle * len(part.faces) % tuple(part.faces.ravel().tolist())
    place = number - _MATERIALS - 1
    return (
        f'<object id="{number}" type="model" name="{_attribute(name)}" '
        f'partnumber="{part.part_id}" pid="{_MATERIALS}" pindex="{place}">\n'
        f"<mesh>\n<vertices>\n{corners}</vertices>\n<triangles>\n{faces}</triangles>\n</mesh>\n"
        "</object>\n"
    )


def _archive(model: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, text in (
            ("[Content_Types].xml", _TYPES),
            ("_rels/.rels", _RELATIONS),
            (_MODEL, model),
        ):
            entry = zipfile.ZipInfo(name, _OLDEST)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.create_system = 3  # else it is that of the machine
            archive.writestr(entry, text.encode())
    return buffer.getvalue()
