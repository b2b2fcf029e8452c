"""Divides a solid among its parts by peeling them off one at a time.

The part that is peeled is closed by caps; the same caps, turned over, close what remains and are
shared out among the neighbours there. So the parts fit without gap or overlap, whatever way their
borders branch, and only the caps of simple curves must ever be found.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import dijkstra

from partwise.geometric.cap import Cap
from partwise.geometric.cap_mesh import interior_edges
from partwise.geometric.fit import Walls, fitted, near_faces
from partwise.geometric.inside import Inside
from partwise.geometric.plan import CapCluster, PlannedCap, plan_caps, plan_lids, span_caps
from partwise.geometric.solid_bodies import turned_bodies
from partwise.geometry.labels import members_by_label
from partwise.geometry.topology import Floats, Ints, is_label_border, mesh_edges

NOBODY = -2
CODE = 1 << 40


class Solid:
    """A surface divided among labels; owns its points and faces, which grow as caps are added.

    `had_holes` has the labels that were given a cap over a hole of the whole surface, `left` those
    not yet peeled off.
    positions: (W, 3) float64. faces: (F, 3) int64, oriented, with split vertices. labels: (F,).
    """

    def __init__(self, positions: Floats, faces: Ints, labels: NDArray[np.integer]) -> None:
        self._points = positions
        self._count = len(positions)
        self.own = members_by_label(labels)
        self.faces = faces
        self.caps: dict[int, list[Ints]] = {label: [] for label in self.own}
        self.had_holes: set[int] = set()
        self.left = list(self.own)
        self._refused: set[bytes] = set()
        self._spans: dict[int, tuple[int, list[CapCluster]]] = {}  # with the number of caps then
        self._owner: dict[int, int] = {}
        self._inside: Inside | None = None
        self._note_borders(faces, labels)

    @property
    def points(self) -> Floats:
        """(W + N, 3) float64 the positions, then the points of the caps so far."""
        return self._points[: self._count]

    def surface(self, label: int) -> Ints:
        """(G, 3) int64 the faces of a part so far: its own, then its caps'."""
        return np.concatenate([self.faces[self.own[label]], *self.caps[label]])

    def close(self) -> None:
        """Cap the holes of the whole surface, then turn its bodies outward.

        A cap over a hole goes to the parts around it. A body that looks inward is turned unless it
        is the cavity of another body with the same label.
        """
        everything = np.concatenate([self.surface(label) for label in self.own])
        for planned in plan_lids(self.points, everything, self._owners_around):
            faces = self._placed(np.concatenate(planned.rims), planned.cap)
            shares = _shares(planned.cap, self._owners_around(planned.rims))
            self._share_out(faces, shares)
            self.had_holes.update(np.unique(shares).tolist())
        labels = np.concatenate([np.full(len(self.surface(k)), k) for k in self.own])
        faces = np.concatenate([self.surface(k) for k in self.own])
        is_turned = turned_bodies(self.points, faces, labels)
        faces = np.where(is_turned[:, None], faces[:, ::-1], faces)
        self._turn(is_turned)
        self._owner.clear()
        self._note_borders(faces, labels)
        self._inside = Inside(self.points, faces)

    def _turn(self, is_turned: NDArray[np.bool_]) -> None:
        start = 0
        for label, own in self.own.items():
            turned = own[is_turned[start : start + len(own)]]
            self.faces[turned] = self.faces[turned][:, ::-1]
            start += len(own)
            for cap in self.caps[label]:
                chosen = is_turned[start : start + len(cap)]
                cap[chosen] = cap[chosen][:, ::-1]
                start += len(cap)

    def peel(self, label: int, *, may_shell: bool, may_cross: bool = False) -> bool:
        """Close a part; its neighbours get the other side of its caps.

        Without shells, a part that flat caps and films cannot close well is left as it is, and so
        is one whose caps would cut through something unless they may; returns whether the part is
        done.
        """
        assert self._inside is not None, "close the solid first"
        clusters = self._spanned(label, self._inside)
        plan = plan_caps(self.points, clusters, self._inside, may_shell=may_shell)
        fitting = None if plan is None else self._fitted(label, plan)
        chosen = plan if fitting is None and may_cross else fitting
        if chosen is None:
            return False
        for planned in chosen:
            shares = _shares(planned.cap, self._owners_beyond(planned.rims))
            faces = self._placed(np.concatenate(planned.rims), planned.cap)
            self.caps[label].append(faces)
            self._share_out(faces[:, ::-1], shares)
        self.left.remove(label)
        del self._spans[label]
        return True

    def _spanned(self, label: int, inside: Inside) -> list[CapCluster]:
        """`span_caps` of a part; what is known holds as long as it gets no cap of a neighbour."""
        count = len(self.caps[label])
        if label not in self._spans or self._spans[label][0] != count:
            surface = self.surface(label)
            clusters = span_caps(self.points, surface, inside, self._owners_beyond)
            self._spans[label] = count, clusters
        return self._spans[label][1]

    def _fitted(self, label: int, plan: list[PlannedCap]) -> list[PlannedCap] | None:
        """The caps of a part, bent so that they cut through nothing; None where they cannot be."""
        out: list[PlannedCap] = []
        for planned in plan:
            key = planned.cap.points.tobytes()
            walls = self._walls(label, planned.cap.points, out)
            rim = sum(map(len, planned.rims))
            cap = None if key in self._refused else fitted(planned.cap, rim, walls)
            if cap is None:
                self._refused.add(key)
                return None
            out.append(PlannedCap(planned.rims, cap))
        return out

    def _walls(self, label: int, points: Floats, caps: list[PlannedCap]) -> Walls:
        """What lies around a cap of a part: the part itself and all that is left beside it."""
        near = [near_faces(cap.cap.points, cap.cap.faces, points, 1.0) for cap in caps]
        for other in self.left:
            if other != label:
                near.append(near_faces(self.points, self.surface(other), points, 1.0))
        own = near_faces(self.points, self.surface(label), points, 1.0)
        return Walls(own, np.concatenate([np.zeros((0, 3, 3)), *near]))

    def _owners_beyond(self, rims: list[Ints]) -> Ints:
        """(R,) the labels across the rims of a part."""
        return self._owners(*_sides(rims))

    def _owners_around(self, rims: list[Ints]) -> Ints:
        """(R,) the labels of the faces along the rims of a hole."""
        starts, ends = _sides(rims)
        return self._owners(ends, starts)

    def _share_out(self, faces: Ints, shares: Ints) -> None:
        """Give each face of a cap to the label in `shares`, if that is somebody."""
        for label in np.unique(shares[shares != NOBODY]).tolist():
            self.caps[label].append(faces[shares == label])
        sides = interior_edges(faces).sides
        is_border = shares[sides[:, 0] // 3] != shares[sides[:, 1] // 3]
        self._note(faces, shares, sides[is_border].ravel())

    def _placed(self, rim: Ints, cap: Cap) -> Ints:
        """The faces of a cap in terms of the solid's points, to which its own are added."""
        points = cap.points[len(rim) :]
        start, self._count = self._count, self._count + len(points)
        if self._count > len(self._points):
            grown = np.empty((max(2 * len(self._points), self._count), 3))
            grown[:start] = self._points[:start]
            self._points = grown
        self._points[start : self._count] = points
        return np.asarray(np.concatenate([rim, np.arange(start, self._count)])[cap.faces])

    def _owners(self, starts: Ints, ends: Ints) -> Ints:
        """(n,) the label of the face with a side from start to end, `NOBODY` where there is none.

        Known are the sides on borders between labels and on the surface's own boundary.
        """
        codes = (starts * CODE + ends).tolist()
        return np.array([self._owner.get(code, NOBODY) for code in codes], dtype=np.int64)

    def _note_borders(self, faces: Ints, labels: NDArray[np.integer]) -> None:
        edges = mesh_edges(faces)
        sides = np.nonzero(edges.side_edge >= 0)[0]
        is_border = is_label_border(edges, labels) | (edges.counts == 1)
        self._note(faces, labels, sides[is_border[edges.side_edge[sides]]])

    def _note(self, faces: Ints, labels: NDArray[np.integer], sides: Ints) -> None:
        starts, ends = faces[sides // 3, sides % 3], faces[sides // 3, (sides + 1) % 3]
        codes = (starts * CODE + ends).tolist()
        self._owner.update(zip(codes, labels[sides // 3].tolist(), strict=True))


def _sides(rims: list[Ints]) -> tuple[Ints, Ints]:
    return np.concatenate(rims), np.concatenate([np.roll(rim, -1) for rim in rims])


def _shares(cap: Cap, owners: Ints) -> Ints:
    """(T,) the label that each face of a cap goes to: that of the nearest stretch of its rim.

    owners: (R,) the label beyond the rim's edge that starts at each point.
    """
    if np.all(owners == owners[0]):
        return np.full(len(cap.faces), owners[0])
    is_rim = cap.faces < len(owners)
    face, side = np.nonzero(is_rim & np.roll(is_rim, -1, axis=1))
    label_of = np.full(len(cap.faces), NOBODY, dtype=np.int64)
    label_of[face] = owners[cap.faces[face, side]]
    one, other = interior_edges(cap.faces).sides.T // 3
    centres = cap.points[cap.faces].mean(axis=1)
    length = np.maximum(np.linalg.norm(centres[one] - centres[other], axis=1), 1e-12)
    graph = coo_matrix((length, (one, other)), (len(cap.faces), len(cap.faces))).tocsr()
    _, _, source = dijkstra(
        graph, directed=False, indices=face, min_only=True, return_predecessors=True
    )
    return np.where(source >= 0, label_of[source], NOBODY)
