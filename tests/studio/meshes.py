"""Small meshes for the tests of the application."""

import numpy as np
from numpy.typing import NDArray

from partwise.geometry.mesh_io import MeshFacts, SourceMesh

Arrays = tuple[NDArray[np.float64], NDArray[np.int64]]

_CORNERS = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)], dtype=np.float64)
_FACES = np.array(
    [
        *[[0, 1, 3], [0, 3, 2], [4, 6, 7], [4, 7, 5]],
        *[[0, 4, 5], [0, 5, 1], [2, 3, 7], [2, 7, 6]],
        *[[0, 2, 6], [0, 6, 4], [1, 5, 7], [1, 7, 3]],
    ],
    dtype=np.int64,
)


def boxes(count: int) -> Arrays:
    """`count` unit boxes in a row, two apart."""
    vertices = np.concatenate([_CORNERS + np.array([2.0 * i, 0, 0]) for i in range(count)])
    faces = np.concatenate([_FACES + 8 * i for i in range(count)])
    return vertices, faces


def source_mesh(vertices: NDArray[np.float64], faces: NDArray[np.int64]) -> SourceMesh:
    """A mesh as if it came from a file of triangles with one node."""
    extents = vertices.max(axis=0) - vertices.min(axis=0)
    facts = MeshFacts(
        file_format="glb",
        file_bytes=1000,
        n_vertices=len(vertices),
        n_faces=len(faces),
        n_file_faces=len(faces),
        n_nodes=1,
        n_components=1,
        is_watertight=True,
        n_degenerate_faces=0,
        n_duplicate_faces=0,
        n_boundary_edges=0,
        n_nonmanifold_edges=0,
        extents=(float(extents[0]), float(extents[1]), float(extents[2])),
        unit=None,
        notes=(),
    )
    return SourceMesh(
        name="boxes.glb",
        vertices=vertices,
        faces=faces,
        file_faces=np.arange(len(faces)),
        face_nodes=np.zeros(len(faces), dtype=np.int32),
        node_names=("Boxes",),
        facts=facts,
    )
