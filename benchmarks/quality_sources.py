"""Labelled meshes to judge parts on: folders that the user names, and the project's own objects."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from partwise.core.errors import ConfigError
from partwise.geometry.limits import MeshLimits
from partwise.geometry.mesh_io import SourceMesh, parse_mesh
from partwise.geometry.topology import Floats, Ints, weld
from scripts.assemblies import UNSEEN, Labelled, fused_surface, joined_surface, make_assembly

FIRST_SEED = 9000  # far from the seeds that the scorer was trained on


@dataclass(frozen=True)
class Source:
    """A kind of labelled meshes. typical_parts: what methods with a fixed number are given."""

    title: str
    typical_parts: int


SOURCES = {
    "psb": Source("closed surfaces, several people's labels each", 7),
    "asm": Source("objects of several nodes, joined without them", 4),
    "asmwt": Source("objects of several nodes, fused to one surface", 4),
    "fused": Source("objects of several nodes, fused to one surface", 4),
    "joined": Source("objects of several nodes, joined without them", 4),
    "assemblies-fused": Source("made objects of families unseen in training, fused", 6),
    "assemblies-joined": Source("made objects of families unseen in training, joined", 6),
}
INDEXED = ("psb", "asm", "asmwt")  # those of a folder with an index


@dataclass(frozen=True)
class Case:
    """Where one labelled mesh comes from: enough to read or make it in another process.

    source: a key of SOURCES. kind: its category, by which shapes for slow peers are chosen.
    place: its place in the source. path: its mesh, or None for one that is made from the seed.
    """

    source: str
    name: str
    kind: str
    place: int
    path: Path | None = None
    seed: int = 0


@dataclass(frozen=True)
class Subject:
    """A welded mesh and its labellings. truths: (S, F) int64, one row for each person."""

    vertices: Floats
    faces: Ints
    truths: Ints


def labelled_folder(folder: Path) -> list[Case]:
    """The meshes of a folder with index.json, NAME.ply and NAME.gt.npz (`labels` (S, F))."""
    index = folder / "index.json"
    if not index.exists():
        raise ConfigError(f"{folder.name} has no index.json. Name a folder that has one.")
    entries = json.loads(index.read_text(encoding="utf-8"))
    cases = []
    for place, entry in enumerate(entries):
        source, name = entry.get("set", "psb"), entry["name"]
        if source not in SOURCES:
            known = ", ".join(SOURCES)
            raise ConfigError(f"{name} is of the set {source}, which is none of {known}.")
        kind = str(entry.get("category", ""))
        cases.append(Case(source, name, kind, place, folder / f"{name}.ply"))
    return cases


def fused_folder(folder: Path) -> list[Case]:
    """The meshes NAME.ply of a folder that have a NAME.labels.npy."""
    files = [path for path in sorted(folder.glob("*.ply")) if _labels_file(path).exists()]
    return [Case("fused", path.stem, path.stem, i, path) for i, path in enumerate(files)]


def joined_folder(folder: Path) -> list[Case]:
    """The glb files of a folder with more than one node."""
    files = [path for path in sorted(folder.glob("*.glb")) if _node_count(path) > 1]
    return [Case("joined", path.stem, path.stem, i, path) for i, path in enumerate(files)]


def assemblies(count: int, families: list[str]) -> list[Case]:
    """`count` made objects, the families in turn, each fused and joined."""
    chosen = [families[i % len(families)] for i in range(count)]
    return [
        Case(f"assemblies-{how}", f"{family}-{FIRST_SEED + i}", family, i, seed=FIRST_SEED + i)
        for how in ("fused", "joined")
        for i, family in enumerate(chosen)
    ]


def unseen_families() -> list[str]:
    """The families that the scorer never learns from."""
    return sorted(UNSEEN)


def spread(cases: list[Case], most: int) -> list[Case]:
    """At most `most` of the cases of each source, evenly over it."""
    chosen: list[Case] = []
    for mine in by_source(cases).values():
        places = np.unique(np.linspace(0, len(mine) - 1, min(most, len(mine))).astype(int))
        chosen += [mine[place] for place in places]
    return chosen


def first_of_kinds(cases: list[Case], most: int) -> list[Case]:
    """The first case of each kind, at most `most` for each source."""
    chosen: list[Case] = []
    for mine in by_source(cases).values():
        firsts = {case.kind: case for case in reversed(mine)}
        chosen += [case for case in mine if firsts[case.kind] is case][:most]
    return chosen


def by_source(cases: list[Case]) -> dict[str, list[Case]]:
    """The cases of each source, in the order of SOURCES."""
    found = {name: [case for case in cases if case.source == name] for name in SOURCES}
    return {name: mine for name, mine in found.items() if mine}


def load_case(case: Case) -> Subject:
    """Read or make the mesh; raises `MeshError` for a bad file and `ConfigError` for bad labels."""
    subject = _LOADERS[case.source](case)
    if subject.truths.shape[1] != len(subject.faces):
        raise ConfigError(
            f"{case.name} has {subject.truths.shape[1]} labels for {len(subject.faces)} faces. "
            "Give one for each face."
        )
    return subject


def _with_people(case: Case) -> Subject:
    assert case.path is not None
    truths = np.load(case.path.with_name(f"{case.name}.gt.npz"))["labels"]
    return _subject(_read(case.path), np.atleast_2d(truths))


def _with_labels(case: Case) -> Subject:
    assert case.path is not None
    return _subject(_read(case.path), np.load(_labels_file(case.path)).reshape(1, -1))


def _without_nodes(case: Case) -> Subject:
    assert case.path is not None
    mesh = _read(case.path)
    return _subject(mesh, mesh.face_nodes[None])


def _made(build: Callable[[Case], Labelled]) -> Callable[[Case], Subject]:
    def load(case: Case) -> Subject:
        surface = build(case)
        vertices, faces = weld(surface.vertices, surface.faces)
        return Subject(vertices, faces, surface.labels[None])

    return load


def _fused(case: Case) -> Labelled:
    return fused_surface(make_assembly(case.kind, case.seed), case.seed)


def _joined(case: Case) -> Labelled:
    return joined_surface(make_assembly(case.kind, case.seed))


_LOADERS: dict[str, Callable[[Case], Subject]] = {
    "psb": _with_people,
    "asm": _with_people,
    "asmwt": _with_people,
    "fused": _with_labels,
    "joined": _without_nodes,
    "assemblies-fused": _made(_fused),
    "assemblies-joined": _made(_joined),
}


def _subject(mesh: SourceMesh, truths: NDArray[np.integer]) -> Subject:
    vertices, faces = weld(mesh.vertices, mesh.faces)
    return Subject(vertices, faces, truths.astype(np.int64))


def _read(path: Path) -> SourceMesh:
    return parse_mesh(path, path.suffix[1:], MeshLimits(), path.name)


def _node_count(path: Path) -> int:
    return len(np.unique(_read(path).face_nodes))


def _labels_file(path: Path) -> Path:
    return path.with_name(f"{path.stem}.labels.npy")


def all_cases(
    labelled: Path | None, fused: Path | None, joined: Path | None, made: int
) -> Iterator[Case]:
    """The cases of all sources that are given."""
    for folder, list_cases in (
        (labelled, labelled_folder),
        (fused, fused_folder),
        (joined, joined_folder),
    ):
        if folder is not None:
            yield from list_cases(folder)
    if made:
        yield from assemblies(made, unseen_families())
