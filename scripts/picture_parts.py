"""Take the README's pictures of parts: a mesh in grey, its parts in colour, apart and closed.

The built-in engine does the work on three examples, joined without their nodes.
Run from the repository's root: python -m scripts.picture_parts [name …] [--out FOLDER]
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from partwise.geometric.complete import complete_parts
from partwise.geometric.segment import Segmentation, SegmentSettings, segment_mesh
from partwise.geometry.aabb import points_aabb
from partwise.geometry.limits import MeshLimits
from partwise.geometry.mesh_io import parse_mesh
from partwise.geometry.parts import exploded_offsets, hex_colour
from partwise.geometry.topology import Floats, Ints, face_normals, weld
from scripts.examples.render import render
from scripts.examples.scene import Model, Node, Paint, Shapes
from scripts.examples.surfaces import Surface

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES, FOLDER = ROOT / "assets" / "examples", ROOT / "assets" / "screenshots"
NAMES = ("dog", "teapot", "toy_car")
VIEWS = {"dog": 40.0, "teapot": 25.0, "toy_car": 35.0}
GREY = Paint("#9aa0a8")
APART = 0.55
SHARP_DEGREES = 40.0


@dataclass(frozen=True)
class Mesh:
    """vertices: (V, 3) float64, welded. faces: (F, 3) int64."""

    vertices: Floats
    faces: Ints


def main(arguments: Sequence[str] | None = None) -> None:
    """Make the pictures that are named, or all."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", default=NAMES, metavar="name", help="examples")
    parser.add_argument("--out", type=Path, default=FOLDER)
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    for name in options.names:
        mesh = read(EXAMPLES / f"{name}.glb")
        made = segment_mesh(mesh.vertices, mesh.faces, settings=SegmentSettings())
        file = options.out / f"parts-{name}.png"
        side_by_side(panels(mesh, made, VIEWS.get(name, 32.0))).save(file, optimize=True)
        print(f"{file.name}: {made.part_count} parts, {file.stat().st_size // 1000} kB")


def read(path: Path) -> Mesh:
    """A mesh file without its nodes."""
    source = parse_mesh(path, path.suffix[1:], MeshLimits(), path.name)
    return Mesh(*weld(source.vertices, source.faces))


def panels(mesh: Mesh, made: Segmentation, view_degrees: float) -> list[Image.Image]:
    """The mesh in grey, in the colours of its parts, and its closed parts apart."""
    labels = range(made.part_count)
    chosen = [Mesh(mesh.vertices, mesh.faces[made.face_labels == label]) for label in labels]
    closed = complete_parts(mesh.vertices, mesh.faces, made.face_labels).parts
    solids = [Mesh(part.vertices, part.faces) for part in closed]
    boxes = np.stack([points_aabb(solid.vertices[solid.faces.ravel()]) for solid in solids])
    offsets = exploded_offsets(boxes, APART)
    apart = [Mesh(s.vertices + o, s.faces) for s, o in zip(solids, offsets, strict=True)]
    return [
        render(model([mesh], [GREY], view_degrees)),
        render(model(chosen, colours(len(chosen)), view_degrees)),
        render(model(apart, colours(len(apart)), view_degrees)),
    ]


def colours(count: int) -> list[Paint]:
    """The paint of each part, as the page has it."""
    return [Paint(hex_colour(i)) for i in range(count)]


def model(meshes: list[Mesh], paints: list[Paint], view_degrees: float) -> Model:
    """Painted meshes, each in a node of its own."""
    shapes: Shapes = {
        str(i): (creased(mesh), paint)
        for i, (mesh, paint) in enumerate(zip(meshes, paints, strict=True))
    }
    return Model("parts", "", "", shapes, [Node(key, key) for key in shapes], view_degrees)


def creased(mesh: Mesh) -> Surface:
    """The mesh with its vertices apart where faces turn sharply, so that edges are drawn as edges.

    A corner stays with the corners at its vertex whose faces look its way, to within
    SHARP_DEGREES of the first of them.
    """
    corners = mesh.faces.ravel()
    normals = np.repeat(face_normals(mesh.vertices, mesh.faces), 3, axis=0)
    group = np.full(len(corners), -1, dtype=np.int64)
    count, left = 0, np.arange(len(corners))
    while len(left):
        at, first = np.unique(corners[left], return_index=True)
        lead = left[first[np.searchsorted(at, corners[left])]]
        is_alike = np.einsum("ij,ij->i", normals[left], normals[lead]) > np.cos(
            np.radians(SHARP_DEGREES)
        )
        is_alike |= left == lead
        chosen = left[is_alike]
        group[chosen] = count + np.searchsorted(at, corners[chosen])
        count += len(at)
        left = left[~is_alike]
    points = np.empty((count, 3))
    points[group] = mesh.vertices[corners]
    return Surface(points, group.reshape(-1, 3))


def side_by_side(pictures: list[Image.Image]) -> Image.Image:
    """Pictures of one height in a row."""
    width = sum(picture.width for picture in pictures)
    row = Image.new("RGBA", (width, pictures[0].height))
    at = 0
    for picture in pictures:
        row.paste(picture, (at, 0))
        at += picture.width
    return row


if __name__ == "__main__":
    main()
