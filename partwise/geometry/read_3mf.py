"""3MF: the build items with their components, transforms and unit. Colours are not used."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from partwise.geometry.limits import (
    MeshLimits,
    Refusal,
    check_faces,
    check_nodes,
    check_vertices,
)
from partwise.geometry.read_3mf_package import Package, part_name, safe_parser
from partwise.geometry.read_raw import RawMesh, assemble
from partwise.geometry.read_text import decode_name, parse_floats, parse_ints
from partwise.geometry.topology import Floats, Ints

_CORE = "http://schemas.microsoft.com/3dmanufacturing/core/2015/02 "
_PATH = "http://schemas.microsoft.com/3dmanufacturing/production/2015/06 path"
_UNITS = {
    "micron": "micrometre",
    "millimeter": "millimetre",
    "centimeter": "centimetre",
    "inch": "inch",
    "foot": "foot",
    "meter": "metre",
}
_MAX_DEPTH = 64
_MAX_PARTS = 1000

Key = tuple[str, str]  # part of the archive, id of the object in it


@dataclass(frozen=True)
class _Use:
    """An object as it is placed by a component or a build item."""

    key: Key
    matrix: Floats


@dataclass
class _Object:
    name: str
    components: list[_Use] = field(default_factory=list)
    coordinates: list[str] = field(default_factory=list)
    corners: list[str] = field(default_factory=list)


@dataclass
class _Model:
    """All objects of all parts that are in use, and what the build places."""

    unit: str = "millimeter"
    objects: dict[Key, _Object] = field(default_factory=dict)
    items: list[_Use] = field(default_factory=list)


def check_3mf(path: Path, limits: MeshLimits) -> None:
    """Refuse by the archive's directory and by relations to outside of it."""
    with Package(path, limits) as package:
        package.model_part()


def read_3mf(path: Path, limits: MeshLimits) -> RawMesh:
    """All build items in order, components depth first; each mesh in use is a node."""
    model = _Model()
    with Package(path, limits) as package:
        root = package.model_part()
        _read_part(package, root, model, limits, is_root=True)
        _read_referenced_parts(package, root, model, limits)
    if not model.items:
        raise Refusal("has no object in its build", "Place the objects and export it again.")
    return _assemble(model, limits)


def _read_referenced_parts(package: Package, root: str, model: _Model, limits: MeshLimits) -> None:
    done = {root}
    while waiting := _parts_in_use(model) - done:
        if len(done) + len(waiting) > _MAX_PARTS:
            raise Refusal(f"is made of more than {_MAX_PARTS} model files")
        for part in sorted(waiting):
            if part not in package:
                raise Refusal("refers to a model that is missing in it")
            _read_part(package, part, model, limits, is_root=False)
            done.add(part)


def _parts_in_use(model: _Model) -> set[str]:
    uses = [*model.items, *(use for item in model.objects.values() for use in item.components)]
    return {use.key[0] for use in uses}


def _read_part(
    package: Package, part: str, model: _Model, limits: MeshLimits, *, is_root: bool
) -> None:
    reader = _PartReader(part, model, limits, is_root=is_root)
    parser = safe_parser()
    parser.StartElementHandler = reader.start
    try:
        package.feed(part, parser)
    except KeyError as err:
        raise Refusal(f"is damaged (an element lacks its {err.args[0]})") from err


class _PartReader:
    """Takes the elements of one model part as they come and fills the model."""

    def __init__(self, part: str, model: _Model, limits: MeshLimits, *, is_root: bool) -> None:
        self._part = part
        self._model = model
        self._limits = limits
        self._object = _Object("")  # what stands outside of any object is lost
        self._vertex_count = self._face_count = 0
        self._handlers = {
            f"{_CORE}object": self._start_object,
            f"{_CORE}vertex": self._add_vertex,
            f"{_CORE}triangle": self._add_triangle,
            f"{_CORE}component": self._add_component,
        }
        if is_root:
            self._handlers[f"{_CORE}model"] = self._start_model
            self._handlers[f"{_CORE}item"] = self._add_item

    def start(self, name: str, attributes: dict[str, str]) -> None:
        """Take the start of an element."""
        handler = self._handlers.get(name)
        if handler is not None:
            handler(attributes)

    def _start_model(self, attributes: dict[str, str]) -> None:
        unit = attributes.get("unit", "millimeter")
        if unit not in _UNITS:
            raise Refusal("has an unknown unit of length")
        self._model.unit = unit

    def _start_object(self, attributes: dict[str, str]) -> None:
        self._object = _Object(decode_name(attributes.get("name", "").encode("utf-8", "replace")))
        self._model.objects[self._part, attributes["id"]] = self._object
        check_nodes(len(self._model.objects), self._limits)

    def _add_vertex(self, attributes: dict[str, str]) -> None:
        self._object.coordinates += (attributes["x"], attributes["y"], attributes["z"])
        self._vertex_count += 1
        if self._vertex_count > self._limits.max_vertices:
            check_vertices(self._vertex_count, self._limits)

    def _add_triangle(self, attributes: dict[str, str]) -> None:
        self._object.corners += (attributes["v1"], attributes["v2"], attributes["v3"])
        self._face_count += 1
        if self._face_count > self._limits.max_faces:
            check_faces(self._face_count, self._limits)

    def _add_component(self, attributes: dict[str, str]) -> None:
        self._object.components.append(self._use(attributes))
        check_nodes(len(self._object.components), self._limits)

    def _add_item(self, attributes: dict[str, str]) -> None:
        self._model.items.append(self._use(attributes))
        check_nodes(len(self._model.items), self._limits)

    def _use(self, attributes: dict[str, str]) -> _Use:
        part = attributes.get(_PATH)
        key = (part_name(part) if part else self._part, attributes["objectid"])
        return _Use(key, _matrix(attributes.get("transform")))


def _matrix(text: str | None) -> Floats:
    """(4, 4) matrix of a transform written as twelve numbers, row vectors times matrix."""
    matrix = np.eye(4)
    if text is not None:
        values = parse_floats(text.encode(), "transforms")
        if len(values) != 12 or not np.all(np.isfinite(values)):
            raise Refusal("has a transform that is not twelve numbers")
        matrix[:3] = values.reshape(4, 3).T
    return matrix


def _leaves(model: _Model, limits: MeshLimits) -> Iterator[tuple[_Use, _Object]]:
    """Each object with a mesh as often as it is placed, with its matrix to the world."""
    stack = [(use, frozenset[Key]()) for use in reversed(model.items)]
    visits = 0
    while stack:
        use, above = stack.pop()
        visits += 1
        check_nodes(visits, limits)
        found = model.objects.get(use.key)
        if found is None:
            raise Refusal(f"places an object that is missing in it (number {use.key[1][:20]})")
        if use.key in above or len(above) > _MAX_DEPTH:
            raise Refusal("has objects that contain themselves, or are nested too deeply")
        if found.corners:
            yield use, found
        below = above | {use.key}
        for part in reversed(found.components):
            stack.append((_Use(part.key, use.matrix @ part.matrix), below))


def _assemble(model: _Model, limits: MeshLimits) -> RawMesh:
    leaves = list(_leaves(model, limits))
    check_faces(sum(len(found.corners) // 3 for _, found in leaves), limits)
    check_vertices(sum(len(found.coordinates) // 3 for _, found in leaves), limits)
    return assemble(
        [(use.key, use.matrix, found.name or f"object {use.key[1][:20]}") for use, found in leaves],
        lambda key: _mesh_of(model.objects[key]),
        unit=_UNITS[model.unit],
        up_axis="z",
    )


def _mesh_of(found: _Object) -> tuple[Floats, Ints]:
    coordinates = parse_floats(" ".join(found.coordinates).encode(), "vertices")
    corners = parse_ints(" ".join(found.corners).encode(), "face corners")
    if len(coordinates) != len(found.coordinates) or len(corners) != len(found.corners):
        raise Refusal("has vertices or faces that are not numbers")
    if int(corners.min()) < 0 or int(corners.max()) * 3 >= len(coordinates):
        raise Refusal("has faces that point to vertices which do not exist")
    return coordinates.reshape(-1, 3), corners.reshape(-1, 3)
