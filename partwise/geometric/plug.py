"""Pegs and sockets, so that printed parts fit together: an option of the Generate step.

Where the caps of two closed parts meet, the smaller part gets a peg and the larger one a socket
with a gap around it. A peg lies wholly within what its two parts fill, so nothing shows outside and
no other part is touched; where there is no room for one, the plain cut stays.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import manifold3d as m3
import numpy as np

from partwise.core.errors import ConfigError
from partwise.geometric.completed import CompletedPart
from partwise.geometric.contacts import Contact, find_contacts
from partwise.geometric.peg import SLENDER, Footprint, PegShape, build_peg, find_footprints
from partwise.geometric.solids import face_origins, part_from, solid_of
from partwise.geometry.topology import Ints, is_watertight

# Lengths that are tried, as shares of the wanted one.
LENGTHS = (1.0, 0.75, 0.5, 0.35)
LEAST = 0.25
# How much of a peg may lie outside both parts, and how far volumes may be off, as shares.
SPILL = 1e-3


@dataclass(frozen=True)
class _Peg:
    """A peg that fits: what its limb gains and its body loses, in cubed units of the mesh."""

    limb: int
    body: int
    shape: PegShape
    gain: float
    loss: float


def check(plug: float, clearance: float) -> None:
    """Refuse lengths that make no pegs; both in units of the mesh.

    Raises ConfigError for values that are negative or not finite, and for a gap that would swallow
    the peg.
    """
    for name, value in (("plug", plug), ("clearance", clearance)):
        if not (math.isfinite(value) and value >= 0):
            raise ConfigError(
                f"The {name} must be a length of 0 or more in the units of the mesh, not {value}."
            )
    if plug > 0 and clearance >= plug:
        raise ConfigError(
            f"A clearance of {clearance} leaves nothing of a plug of {plug}. "
            "Choose a clearance that is smaller than the plug, a tenth of it for example."
        )


def with_plugs(
    parts: Sequence[CompletedPart], plug: float, clearance: float
) -> tuple[CompletedPart, ...]:
    """The parts, in their order, with pegs `plug` long and sockets wider by `clearance`.

    Lengths in units of the mesh; 0 for `plug` changes nothing. A peg is shorter where its neighbour
    is thin or its cap narrow, and left away where no quarter of it fits. Open parts, and parts that
    get neither peg nor socket, are the same objects as before. In a changed part the faces of the
    input come first, vertex for vertex and in their order; its thickness is the old one.
    Raises ConfigError as `check` does.
    """
    check(plug, clearance)
    if plug == 0:
        return tuple(parts)
    solids = _Solids(parts)
    pegs = _fitting_pegs(parts, solids, plug, clearance)
    while True:
        touched = sorted({i for peg in pegs for i in (peg.limb, peg.body)})
        rebuilt = {i: solids.rebuilt(i, pegs) for i in touched}
        failed = {i for i, part in rebuilt.items() if part is None}
        if not failed:
            return tuple(rebuilt.get(i) or part for i, part in enumerate(parts))
        pegs = [peg for peg in pegs if not {peg.limb, peg.body} & failed]


def _fitting_pegs(
    parts: Sequence[CompletedPart], solids: "_Solids", plug: float, clearance: float
) -> list[_Peg]:
    """A peg for each contact that has room, large caps first."""
    places = []
    for contact in find_contacts(parts):
        feet = find_footprints(parts[contact.limb].vertices, contact.faces, clearance)
        if feet:
            places.append((contact, feet))
    places.sort(key=lambda place: (-place[1][0].size, *place[1][0].frame[:, 3].tolist()))
    pegs: list[_Peg] = []
    for contact, feet in places:
        peg = solids.first_fitting(contact, _shapes(feet, plug, clearance), pegs)
        if peg is not None:
            pegs.append(peg)
    return pegs


def _shapes(feet: list[Footprint], plug: float, clearance: float) -> list[PegShape]:
    """Pegs to try: wide before narrow, then long before short."""
    return [
        build_peg(foot, length, clearance)
        for foot in feet
        for share in LENGTHS
        if (length := share * min(plug, SLENDER * foot.half_width * foot.size))
        > max(2 * clearance, LEAST * plug)
    ]


class _Solids:
    """The parts as solids of the boolean library, each made when it is first asked for."""

    def __init__(self, parts: Sequence[CompletedPart]) -> None:
        self._parts = parts
        self._made: dict[int, tuple[m3.Manifold, int] | None] = {}

    def get(self, place: int) -> tuple[m3.Manifold, int] | None:
        """A part and its number among originals; None where the library does not take it."""
        if place not in self._made:
            self._made[place] = solid_of(self._parts[place])
        return self._made[place]

    def first_fitting(
        self, contact: Contact, shapes: list[PegShape], pegs: list[_Peg]
    ) -> _Peg | None:
        """The first of the shapes that shows nowhere and whose room no other peg needs.

        Neither the peg may cut the limb's other faces, nor its room those of the body.
        """
        limb, body = self.get(contact.limb), self.get(contact.body)
        if limb is None or body is None or not shapes:
            return None
        touched = {contact.limb, contact.body}
        taken = [peg.shape.room for peg in pegs if {peg.limb, peg.body} & touched]
        block = _block(shapes[0].room)
        inner, outer = limb[0] ^ block, body[0] ^ block
        if inner.is_empty() or outer.is_empty():  # and so both are made once, not for each shape
            return None
        for shape in shapes:
            is_free = all((shape.room ^ other).is_empty() for other in taken)
            rooted, opened = inner ^ shape.peg, outer ^ shape.room
            if not is_free or _shows(rooted, limb[1], contact.limb_touch):
                continue
            if _shows(opened, body[1], contact.body_touch):
                continue
            gain = float(shape.peg.volume() - rooted.volume())
            spill = gain - float((outer ^ shape.peg).volume())
            if abs(spill) <= SPILL * gain:
                loss = float((outer ^ shape.socket).volume())
                return _Peg(contact.limb, contact.body, shape, gain, loss)
        return None

    def rebuilt(self, place: int, pegs: list[_Peg]) -> CompletedPart | None:
        """A part with its pegs and sockets; None where the result is not what it must be."""
        made = self.get(place)
        assert made is not None, "a part with a peg is a solid"
        solid, number = made
        own = [peg for peg in pegs if peg.limb == place]
        foreign = [peg for peg in pegs if peg.body == place]
        expected = float(solid.volume())
        expected += sum(peg.gain for peg in own) - sum(peg.loss for peg in foreign)
        bodies = [solid, *(peg.shape.peg for peg in own)]
        holes = [peg.shape.socket for peg in foreign]
        joined = m3.Manifold.batch_boolean(bodies, m3.OpType.Add)
        joined = m3.Manifold.batch_boolean([joined, *holes], m3.OpType.Subtract)
        part = part_from(self._parts[place], joined, number)
        is_right = abs(part.volume - expected) <= 1e-4 * expected and is_watertight(part.faces)
        return part if is_right else None


def _shows(cut: m3.Manifold, number: int, touch: Ints) -> bool:
    """Whether something cut out of a part has surface of it other than the faces `touch`."""
    mesh = cut.to_mesh64()
    return not np.all(np.isin(face_origins(mesh, number), [-1, *touch.tolist()]))


def _block(room: m3.Manifold) -> m3.Manifold:
    """A box somewhat larger than a room."""
    corners = np.array(room.bounding_box()).reshape(2, 3)
    size = 1.1 * (corners[1] - corners[0])
    return m3.Manifold.cube(size.tolist(), True).translate(corners.mean(axis=0).tolist())
