"""Fit the built-in engine's scorer to labelled assemblies that the project makes itself.

Use: python scripts/train_scorer.py [--objects 480] [--seed 1000] [--out FILE]; 15 minutes on two
cores. Every fifth family is kept out and the scores on it are printed. Nothing else is learned
from: no other mesh and no human label.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from multiprocessing import Pool
from pathlib import Path

if __package__ in (None, ""):
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.part_scores import PartScores, overlap, scores_of
from partwise.core.progress import StageClock, ignore_progress
from partwise.geometric.affinity import FEATURE_COUNT, PiecePairs
from partwise.geometric.agglomerate import bodies_of, body_prices, grow_tree, whole_bodies
from partwise.geometric.atoms import Atoms
from partwise.geometric.merge_tree import MergeTree
from partwise.geometric.part_count import cut_features, cut_scores
from partwise.geometric.pieces import cut_to_pieces
from partwise.geometric.scorer import COUNT_CLIP, FILE, PartScorer, Standard, quadratic
from partwise.geometry.topology import Floats, Ints, face_areas, weld
from scripts.assemblies import FAMILIES, HELD_OUT, fused_surface, joined_surface, make_assembly

HIDDEN = 32
RIDGE = 1e-3
WHOLE_EVERY = 3
NOISE = 0.5  # on the logarithms of prices, so that the trees seen differ

Merge = Callable[[PiecePairs, Floats, Ints, Ints, Floats], Floats]


@dataclass(frozen=True)
class Example:
    """A labelled object in atoms. faces, areas: (A, T) of each atom in each true part."""

    family: str
    kind: str
    atoms: Atoms
    faces: Floats
    areas: Floats


def main(arguments: Sequence[str] | None = None) -> int:
    """Make objects, fit, write; prints the scores on the families kept out."""
    options = _parser().parse_args(arguments)
    jobs = [(FAMILIES[i % len(FAMILIES)], options.seed + i) for i in range(options.objects)]
    with Pool(options.workers) as pool:
        examples = [e for pair in pool.imap(make_examples, jobs, 4) for e in pair]
    learn = [e for e in examples if e.family not in HELD_OUT]
    judge = [e for e in examples if e.family in HELD_OUT]
    print(f"{len(learn)} objects to learn from, {len(judge)} of other families to judge on")
    pair, layers = fit_pairs([e for e in learn if e.kind == "joined"], options.seed)
    nothing = Standard(np.zeros(8), np.ones(8))
    scorer = PartScorer(pair, layers, nothing, np.zeros(45))
    count, weights = fit_counts(learn, scorer)
    scorer = PartScorer(pair, layers, count, weights)
    for kind in ("fused", "joined", "whole"):
        print(kind, report([e for e in judge if e.kind == kind], scorer))
    save(scorer, options.out)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--objects", type=int, default=480, help="each fused and joined")
    parser.add_argument("--seed", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, default=FILE)
    return parser


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


def fit_pairs(
    examples: list[Example], seed: int
) -> tuple[Standard, tuple[tuple[Floats, Floats], ...]]:
    """Learn from merges of bodies by price, then also from merges by what was learned."""
    rng = np.random.default_rng(seed)
    found = [merges_of(e, truth_last, rng) for e in examples]
    found += [merges_of(e, by_price, rng) for e in examples]
    standard, layers = fit_perceptron(found, seed)
    scorer = PartScorer(standard, layers, standard, np.zeros(0))

    def by_score(
        pairs: PiecePairs, features: Floats, one: Ints, other: Ints, unlike: Floats
    ) -> Floats:
        return scorer.differ(features)

    found += [merges_of(e, by_score, rng) for e in examples]
    return fit_perceptron(found, seed)


def by_price(pairs: PiecePairs, features: Floats, one: Ints, other: Ints, unlike: Floats) -> Floats:
    """As the engine merges where nothing is learned."""
    return body_prices(pairs, features, one, other)


def truth_last(
    pairs: PiecePairs, features: Floats, one: Ints, other: Ints, unlike: Floats
) -> Floats:
    """First what belongs together, so that the pairs seen are those of a good tree."""
    return body_prices(pairs, features, one, other) + 10.0 * unlike


def merges_of(
    example: Example, price: Merge, rng: np.random.Generator
) -> tuple[Floats, Floats, Floats]:
    """(n, FEATURE_COUNT) features of all pairs of bodies met while merging them, (n,) the share of
    pairs of points that differ in their true part, and (n,) weights.
    """
    body = bodies_of(example.atoms)
    pairs = PiecePairs(whole_bodies(example.atoms, body))
    truth = np.zeros((int(body.max()) + 1, example.areas.shape[1]))
    np.add.at(truth, body, example.areas)
    seen: list[tuple[Floats, Floats, Floats]] = []

    def quote(one: Ints, other: Ints) -> Floats:
        features = pairs.features(one, other)
        totals = truth[one].sum(axis=1) * truth[other].sum(axis=1)
        unlike = 1.0 - (truth[one] * truth[other]).sum(axis=1) / totals
        smaller = np.minimum(pairs.sums[one, 0], pairs.sums[other, 0])
        seen.append((features, unlike, np.sqrt(smaller) + 0.02))
        prices = price(pairs, features, one, other, unlike)
        return np.asarray(prices + NOISE * rng.standard_normal(len(prices)))

    def joined(kept: int, gone: int) -> None:
        truth[kept] += truth[gone]

    pairs.join_all(quote, joined)
    if not seen:
        return np.zeros((0, FEATURE_COUNT)), np.zeros(0), np.zeros(0)
    features, unlike, weights = (np.concatenate(column) for column in zip(*seen, strict=True))
    return features, unlike, weights


def fit_perceptron(
    found: list[tuple[Floats, Floats, Floats]], seed: int
) -> tuple[Standard, tuple[tuple[Floats, Floats], ...]]:
    """Two hidden layers, by weighted cross-entropy."""
    torch.manual_seed(seed)
    features, unlike, weights = (np.concatenate(column) for column in zip(*found, strict=True))
    standard = Standard(features.mean(axis=0), features.std(axis=0) + 1e-4)
    x = torch.tensor(standard(features), dtype=torch.float32)
    y, w = (torch.tensor(values, dtype=torch.float32) for values in (unlike, weights))
    linear = torch.nn.Linear
    layers = [linear(FEATURE_COUNT, HIDDEN), linear(HIDDEN, HIDDEN), linear(HIDDEN, 1)]
    act = torch.nn.SiLU()
    net = torch.nn.Sequential(layers[0], act, layers[1], act, layers[2])
    steps = 6 * len(x) // 4096 + 1
    optimizer = torch.optim.AdamW(net.parameters(), 2e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=steps)
    for _ in range(steps):
        at = torch.randint(len(x), (4096,))
        loss = torch.nn.functional.binary_cross_entropy_with_logits(
            net(x[at])[:, 0], y[at], weight=w[at] / w[at].mean()
        )
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
    print(f"pairs {len(x)}, loss {float(loss.detach()):.3f}")
    numbers = [(layer.weight.detach().numpy().T, layer.bias.detach().numpy()) for layer in layers]
    return standard, tuple((w.astype(np.float64), b.astype(np.float64)) for w, b in numbers)


def fit_counts(examples: list[Example], scorer: PartScorer) -> tuple[Standard, Floats]:
    """Ridge regression of how good each cut is, of the best of its object, on its features."""
    rows, goals = [], []
    for example in examples:
        tree = grow_tree(example.atoms, scorer, None)
        features = cut_features(tree, example.areas.sum(axis=1))
        least = tree.leaf_count - len(tree.joins)
        good = [scored(example, tree, least + i).matched_iou for i in range(len(features))]
        rows.append(features)
        goals.append(np.array(good) / max(good))
    columns, goal = np.concatenate(rows), np.concatenate(goals)
    standard = Standard(columns.mean(axis=0), columns.std(axis=0) + 1e-3, COUNT_CLIP)
    form = quadratic(standard(columns))
    system = form.T @ form + RIDGE * len(form) * np.eye(form.shape[1])
    return standard, np.asarray(np.linalg.solve(system, form.T @ goal), dtype=np.float64)


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
        scores = cut_scores(tree, example.areas.sum(axis=1), example.atoms, scorer)
        chosen = least + int(np.argmax(scores))
        own, given = scored(example, tree, chosen), scored(example, tree, example.areas.shape[1])
        rows.append([own.mean_iou, own.mean_iou_area, own.matched_iou, own.count, own.true_count,
                     given.matched_iou])  # fmt: skip
    mean = np.mean(rows, axis=0)
    words = "{:.3f} mIoU, {:.3f} by area, {:.3f} hIoU, {:.1f} parts of {:.1f}; {:.3f} hIoU given"
    return words.format(*mean)


def save(scorer: PartScorer, file: Path) -> None:
    """Write the numbers as float32."""
    arrays = {
        "pair_mean": scorer.pair.mean,
        "pair_deviation": scorer.pair.deviation,
        "count_mean": scorer.count.mean,
        "count_deviation": scorer.count.deviation,
        "count_weights": scorer.weights,
    }
    for i, (weights, bias) in enumerate(scorer.layers):
        arrays[f"weights_{i}"], arrays[f"bias_{i}"] = weights, bias
    np.savez(file, **{name: values.astype(np.float32) for name, values in arrays.items()})  # type: ignore[arg-type]


if __name__ == "__main__":
    sys.exit(main())
