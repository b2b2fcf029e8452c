"""Named nodes with transforms and base colours → a GLB. Knows nothing of particular objects."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import trimesh
from numpy.typing import ArrayLike

from scripts.examples.surfaces import Floats, Surface, vertex_normals


@dataclass(frozen=True)
class Paint:
    """A base colour as sRGB hex text, and how the surface shines (both 0 … 1)."""

    colour: str
    roughness: float = 0.6
    metallic: float = 0.0

    def linear(self) -> Floats:
        """(3,) linear RGB, as glTF stores it."""
        srgb = np.array([int(self.colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
        return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)


Shapes = dict[str, tuple[Surface, Paint]]


@dataclass(frozen=True)
class Node:
    """A named node; `shape` names a shared surface, None makes a pure transform node.

    transform: (4, 4) float64, to the space of `parent` (None = the scene).
    """

    name: str
    shape: str | None = None
    transform: Floats = field(default_factory=lambda: np.eye(4))
    parent: str | None = None


@dataclass(frozen=True)
class Model:
    """An example: surfaces with their paint, by name, and the nodes that place them."""

    name: str
    title: str
    description: str
    shapes: Shapes
    nodes: Sequence[Node]
    view_degrees: float = 32.0

    def world(self, node: Node) -> Floats:
        """(4, 4) transform of a node to scene space."""
        parents = {other.name: other for other in self.nodes}
        matrix = node.transform
        while node.parent is not None:
            node = parents[node.parent]
            matrix = node.transform @ matrix
        return matrix


def transform(
    offset: ArrayLike = (0, 0, 0), turn: ArrayLike | None = None, scale: float = 1.0
) -> Floats:
    """(4, 4): scale, then turn by a (3, 3) rotation, then move."""
    matrix = np.eye(4)
    matrix[:3, :3] = (np.eye(3) if turn is None else np.asarray(turn)) * scale
    matrix[:3, 3] = offset
    return matrix


def fused(
    name: str,
    title: str,
    description: str,
    surface: Surface,
    paint: Paint,
    *,
    view_degrees: float = 32.0,
) -> Model:
    """A model of one fused surface in one node."""
    shapes = {name: (surface, paint)}
    return Model(name, title, description, shapes, [Node(name, name)], view_degrees)


def to_glb(model: Model) -> bytes:
    """The model as binary glTF; shapes that several nodes use are stored once."""
    scene: Any = trimesh.Scene(base_frame="scene")
    for key, shape in model.shapes.items():
        scene.geometry[key] = _to_trimesh(*shape)
    for node in model.nodes:
        scene.graph.update(
            node.name, node.parent or "scene", matrix=node.transform, geometry=node.shape
        )
    return bytes(scene.export(file_type="glb", include_normals=True))


def _to_trimesh(surface: Surface, paint: Paint) -> trimesh.Trimesh:
    visual: Any = trimesh.visual
    material = visual.material.PBRMaterial(
        baseColorFactor=[*np.round(paint.linear() * 255).astype(np.uint8), 255],
        metallicFactor=paint.metallic,
        roughnessFactor=paint.roughness,
    )
    return trimesh.Trimesh(
        vertices=surface.vertices,
        faces=surface.faces,
        vertex_normals=vertex_normals(surface),
        visual=visual.TextureVisuals(material=material),
        process=False,
    )
