"""CoACD's convex hulls of one mesh, in a process of its own, which can be ended when it is slow.

Use: python -m benchmarks.quality_hulls MESH.npz HULLS.npz
"""

import importlib
import sys

import numpy as np

from benchmarks.quality_methods import HULL_PACKAGE, HULL_THRESHOLD


def main(given: str, made: str) -> None:
    """Read vertices and faces; write the triangles of the hulls and the hull of each."""
    package = importlib.import_module(HULL_PACKAGE)
    package.set_log_level("error")
    mesh = np.load(given)
    hulls = package.run_coacd(
        package.Mesh(mesh["vertices"], mesh["faces"]), threshold=HULL_THRESHOLD, seed=0
    )
    corners = [np.asarray(points, dtype=np.float64)[np.asarray(faces)] for points, faces in hulls]
    owners = np.repeat(np.arange(len(corners)), [len(triangles) for triangles in corners])
    np.savez(made, corners=np.concatenate(corners), owners=owners)


if __name__ == "__main__":
    main(*sys.argv[1:])
