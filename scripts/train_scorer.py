"""Fit the built-in engine's scorer to labelled assemblies that the project makes itself.

Use: python scripts/train_scorer.py [--objects 432] [--seed 1000] [--out FILE]; 10 minutes on two
cores. Prints the scores on the families of `UNSEEN`, of which nothing is learned, nor is anything
learned from other meshes or from human labels.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from multiprocessing.pool import Pool
from pathlib import Path

if __package__ in (None, ""):
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.part_scores import PartScores, overlap, scores_of
from partwise.core.progress import StageClock, ignore_progress
from partwise.geometric.affinity import FEATURE_COUNT, PiecePairs
from partwise.geometric.agglomerate import (
    bodies_of,
    body_prices,
    grow_tree,
    lone_bodies,
    piece_prices,
    whole_bodies,
)
from partwise.geometric.atoms import Atoms
from partwise.geometric.merge_tree import MergeTree
from partwise.geometric.part_count import cut_scores
from partwise.geometric.pieces import cut_to_pieces
from partwise.geometric.scorer import FILE, Committee, Layers, PartScorer, Standard, save_scorer
from partwise.geometry.topology import Floats, Ints, face_areas, weld
from scripts.assemblies import LEARNED, UNSEEN, fused_surface, joined_surface, make_assembly

HIDDEN, MEMBERS = 32, 3
EPOCHS, BATCH, RATE, DECAY = 6, 4096, 4e-3, 0.05
WHOLE_EVERY = 3
TRUTH = 10.0  # on the logarithm of the price of what does not belong together
NOISE = 0.5  # on the logarithms of prices, so that the trees seen differ

Prices = Callable[[PiecePairs, Floats, Ints, Ints], Floats]
Merges = tuple[Floats, Floats, Floats]


@dataclass(frozen=True)
class Example:
    """A labelled object in atoms. faces, areas: (A, T) of each atom in each true part."""

    family: str
    kind: str
    atoms: Atoms
    faces: Floats
    areas: Floats


@dataclass(frozen=True)
class Level:
    """What merges: pieces of bodies, or bodies.

    groups: (A,) int64 group of each atom at the start. start: the atoms as these groups. prices:
    as the engine merges them where nothing is learned.
    """

    groups: Callable[[Atoms], Ints]
    start: Callable[[Atoms], Atoms]
    prices: Prices


@dataclass(frozen=True)
class Order:
    """By what to merge the groups of an example: the engine's prices or what was learned.

    truth: added to the price of groups of different true parts, so that with a large one the pairs
    met are those of a good tree.
    """

    level: str
    seed: int
    truth: float = 0.0
    learned: Committee | None = None


def _alone(atoms: Atoms) -> Ints:
    return np.arange(atoms.count)


def _as_bodies(atoms: Atoms) -> Atoms:
    return whole_bodies(atoms, bodies_of(atoms))


LEVELS = {
    "pieces": Level(_alone, lone_bodies, piece_prices),
    "bodies": Level(bodies_of, _as_bodies, body_prices),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Make objects, fit, write; prints the scores on the families that only judge."""
    options = _parser().parse_args(arguments)
    with Pool(options.workers) as pool:
        learn = _examples(pool, LEARNED, options.objects, options.seed)
        judge = _examples(pool, UNSEEN, options.objects // 9, options.seed)
        print(f"{len(learn)} objects to learn from, {len(judge)} of other families to judge on")
        scorer = fit_scorer(pool, learn, options.seed)
    save_scorer(scorer, options.out)
    for kind in ("fused", "joined", "whole"):
        if mine := [example for example in judge if example.kind == kind]:
            print(kind, report(mine, scorer))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--objects", type=int, default=432, help="each fused and joined")
    parser.add_argument("--seed", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, default=FILE)
    return parser


def _examples(pool: Pool, families: Sequence[str], objects: int, seed: int) -> list[Example]:
    jobs = [(families[i % len(families)], seed + i) for i in range(objects)]
    return [example for made in pool.imap(make_examples, jobs, 4) for example in made]


def make_examples(job: tuple[str, int]) -> list[Example]:
    """An object fused to one surface, its parts' meshes joined without their nodes, and now and
    then one of its parts alone, so that leaving whole is learned too.
    """
    family, seed = job
    assembly = make_assembly(family, seed)
    surfaces = {"fused": fused_surface(assembly, seed), "joined": joined_surface(assembly)}
    if seed % WHOLE_EVERY == 0:
        alone = assembly.parts[seed // WHOLE_EVERY % len(assembly.parts)]
        surfaces["whole"] = fused_surface(replace(assembly, parts=(alone,)), seed)
    return [
        labelled_atoms(family, kind, made.vertices, made.faces, made.labels)
        for kind, made in surfaces.items()
    ]


def labelled_atoms(
    family: str, kind: str, vertices: Floats, faces: Ints, labels: NDArray[np.integer]
) -> Example:
    """A labelled mesh in atoms, as the engine cuts it."""
    vertices, faces = weld(vertices, faces)
    clock = StageClock(ignore_progress)
    pieces = cut_to_pieces(vertices, faces, working_faces=20_000, seed=0, clock=clock)
    of_face = pieces.region_atoms[pieces.regions[pieces.fine_groups]]
    areas = face_areas(vertices, faces)
    floor = 1e-12 * float(areas.sum())
    return Example(
        family,
        kind,
        pieces.atoms,
        overlap(of_face, labels, np.ones(len(faces))),
        overlap(of_face, labels, np.maximum(areas, floor)),
    )


def fit_scorer(pool: Pool, examples: list[Example], seed: int) -> PartScorer:
    """The committee of pieces from surfaces of one body, that of bodies from joined meshes."""
    fused = [example for example in examples if example.kind != "joined"]
    joined = [example for example in examples if example.kind == "joined"]
    pieces = fit_level(pool, fused, "pieces", seed)
    return PartScorer(pieces, fit_level(pool, joined, "bodies", seed))


def fit_level(pool: Pool, examples: list[Example], level: str, seed: int) -> Committee:
    """Learn from merges by price, with and without the truth, then from those by what was learned.

    level: a key of LEVELS.
    """
    found: list[Merges] = []

    def follow(order: Order) -> None:
        tasks = [(one, replace(order, seed=seed + i)) for i, one in enumerate(examples)]
        found.extend(pool.imap(merges_of, tasks, 4))

    follow(Order(level, seed, truth=TRUTH))
    follow(Order(level, seed))
    follow(Order(level, seed, learned=fit_committee(found, seed, 1)))
    return fit_committee(found, seed, MEMBERS)


def merges_of(task: tuple[Example, Order]) -> Merges:
    """All pairs of groups met while merging an example's groups in an order.

    (n, FEATURE_COUNT) features, (n,) the share of pairs of points that differ in their true part,
    and (n,) weights.
    """
    example, order = task
    level, rng = LEVELS[order.level], np.random.default_rng(order.seed)
    groups, pairs = level.groups(example.atoms), PiecePairs(level.start(example.atoms))
    truth = np.zeros((int(groups.max()) + 1, example.areas.shape[1]))
    np.add.at(truth, groups, example.areas)
    seen: list[Merges] = []

    def price(one: Ints, other: Ints) -> Floats:
        features = pairs.features(one, other)
        totals = truth[one].sum(axis=1) * truth[other].sum(axis=1)
        unlike = 1.0 - (truth[one] * truth[other]).sum(axis=1) / totals
        smaller = np.minimum(pairs.sums[one, 0], pairs.sums[other, 0])
        seen.append((features, unlike, np.sqrt(smaller) + 0.02))
        if order.learned is not None:
            prices = order.learned.differ(features)
        else:
            prices = level.prices(pairs, features, one, other)
        return prices + order.truth * unlike + NOISE * rng.standard_normal(len(prices))

    def joined(kept: int, gone: int) -> None:
        truth[kept] += truth[gone]

    pairs.join_all(price, joined)
    if not seen:
        return np.zeros((0, FEATURE_COUNT)), np.zeros(0), np.zeros(0)
    features, unlike, weights = (np.concatenate(column) for column in zip(*seen, strict=True))
    return features, unlike, weights


def fit_committee(found: list[Merges], seed: int, members: int) -> Committee:
    """Perceptrons from different starts, each by weighted cross-entropy."""
    features, unlike, weights = (np.concatenate(column) for column in zip(*found, strict=True))
    standard = Standard(features.mean(axis=0), features.std(axis=0) + 1e-4)
    x, y, w = (
        torch.tensor(values, dtype=torch.float32)
        for values in (standard(features), unlike, weights / weights.mean())
    )
    return Committee(standard, tuple(fit_perceptron(x, y, w, seed + i) for i in range(members)))


def fit_perceptron(x: torch.Tensor, y: torch.Tensor, w: torch.Tensor, seed: int) -> Layers:
    """Two hidden layers. x: (n, FEATURE_COUNT), y, w: (n,) float32 goals and weights."""
    torch.manual_seed(seed)
    linear, act = torch.nn.Linear, torch.nn.SiLU()
    layers = [linear(FEATURE_COUNT, HIDDEN), linear(HIDDEN, HIDDEN), linear(HIDDEN, 1)]
    net = torch.nn.Sequential(layers[0], act, layers[1], act, layers[2])
    steps = EPOCHS * len(x) // BATCH + 1
    optimizer = torch.optim.AdamW(net.parameters(), RATE, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps)
    for _ in range(steps):
        at = torch.randint(len(x), (BATCH,))
        loss = torch.nn.functional.binary_cross_entropy_with_logits(
            net(x[at])[:, 0], y[at], weight=w[at]
        )
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
    print(f"pairs {len(x)}, loss {float(loss.detach()):.3f}")
    numbers = [(layer.weight.detach().numpy().T, layer.bias.detach().numpy()) for layer in layers]
    return tuple((a.astype(np.float64), b.astype(np.float64)) for a, b in numbers)


def scored(example: Example, tree: MergeTree, count: int) -> PartScores:
    """The scores of the cut into `count` parts."""
    labels = tree.cut_to(count)
    tables = [np.zeros((int(labels.max()) + 1, example.areas.shape[1])) for _ in range(2)]
    np.add.at(tables[0], labels, example.faces)
    np.add.at(tables[1], labels, example.areas)
    return scores_of(tables[0], tables[1])


def report(examples: list[Example], scorer: PartScorer) -> str:
    """Mean scores with the number of parts chosen, and with the true one."""
    rows = []
    for example in examples:
        tree = grow_tree(example.atoms, scorer, None)
        least = tree.leaf_count - len(tree.joins)
        scores = cut_scores(tree, example.atoms)
        chosen = least + int(np.argmax(scores))
        own, given = scored(example, tree, chosen), scored(example, tree, example.areas.shape[1])
        rows.append([own.mean_iou, own.mean_iou_area, own.matched_iou, own.count, own.true_count,
                     given.matched_iou])  # fmt: skip
    mean = np.mean(rows, axis=0)
    words = "{:.3f} mIoU, {:.3f} by area, {:.3f} hIoU, {:.1f} parts of {:.1f}; {:.3f} hIoU given"
    return words.format(*mean)


if __name__ == "__main__":
    sys.exit(main())
