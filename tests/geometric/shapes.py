"""Shapes that tests build: fused from primitives, so that the true part of each face is known."""

from dataclasses import dataclass

import manifold3d as m3
import numpy as np
from numpy.typing import NDArray

from partwise.geometry.topology import weld

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Shape:
    """vertices: (V, 3) float64, welded. faces: (F, 3) int64. truth: (F,) int64 true part."""

    vertices: Floats
    faces: Ints
    truth: Ints


def box(size: tuple[float, float, float], at: tuple[float, float, float]) -> m3.Manifold:
    """A box centred at a point."""
    return m3.Manifold.cube(size, True).translate(at)


def capsule(start: tuple[float, ...], end: tuple[float, ...], radius: float) -> m3.Manifold:
    """A rod with round ends."""
    ball = m3.Manifold.sphere(radius, 24)
    return m3.Manifold.batch_hull([ball.translate(start), ball.translate(end)])


def fuse(primitives: list[m3.Manifold], edge: float) -> Shape:
    """The union as one closed surface with edges of about `edge`; part = the primitive."""
    solid = m3.Manifold.batch_boolean([p.as_original() for p in primitives], m3.OpType.Add)
    solid = solid.refine_to_length(edge)
    mesh = solid.to_mesh()
    faces = np.asarray(mesh.tri_verts, dtype=np.int64)
    owner = np.repeat(np.asarray(mesh.run_original_id), np.diff(mesh.run_index) // 3)
    truth = np.unique(owner, return_inverse=True)[1]
    vertices, faces = weld(np.asarray(mesh.vert_properties, dtype=np.float64)[:, :3], faces)
    return Shape(vertices, faces, np.asarray(truth, dtype=np.int64))


def chair(edge: float = 0.06) -> Shape:
    """Six true parts: seat 0, back 1, legs 2 to 5."""
    legs = [box((0.1, 0.1, 0.9), (x, y, -0.45)) for x in (-0.4, 0.4) for y in (-0.4, 0.4)]
    seat, back = box((1.0, 1.0, 0.12), (0, 0, 0)), box((1.0, 0.1, 1.0), (0, 0.45, 0.5))
    return fuse([seat, back, *legs], edge)


def figure(edge: float = 0.06) -> Shape:
    """Six true parts: torso 0, head 1, arms 2 and 3, legs 4 and 5."""
    torso, head = capsule((0, 0, 0), (0, 0, 0.7), 0.32), capsule((0, 0, 1.3), (0, 0, 1.4), 0.24)
    arms = [capsule((x * 0.2, 0, 0.7), (x * 1.1, 0, 0.2), 0.11) for x in (-1, 1)]
    legs = [capsule((x * 0.18, 0, -0.1), (x * 0.35, 0, -1.3), 0.14) for x in (-1, 1)]
    return fuse([torso, head, *arms, *legs], edge)


def dumbbell(edge: float = 0.08) -> Shape:
    """Three true parts: bar 0, weights 1 and 2."""
    bar = capsule((0, 0, -1.0), (0, 0, 1.0), 0.12)
    return fuse([bar, *(m3.Manifold.sphere(0.5, 32).translate((0, 0, z)) for z in (-1, 1))], edge)


def scatter(*shapes: Shape, gap: float = 3.0) -> Shape:
    """Several shapes side by side in one mesh; the true part is the shape."""
    vertices, faces, truth, used = [], [], [], 0
    for i, shape in enumerate(shapes):
        vertices.append(shape.vertices + np.array([gap * i, 0, 0]))
        faces.append(shape.faces + used)
        truth.append(np.full(len(shape.faces), i, dtype=np.int64))
        used += len(shape.vertices)
    return Shape(np.concatenate(vertices), np.concatenate(faces), np.concatenate(truth))


def block(edge: float = 0.1) -> Shape:
    """A box: one true part."""
    return fuse([box((1.0, 0.8, 0.6), (0, 0, 0))], edge)


def ball(radius: float = 0.5, edge: float = 0.1) -> Shape:
    """A sphere: one true part."""
    return fuse([m3.Manifold.sphere(radius, 32)], edge)
