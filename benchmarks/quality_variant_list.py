"""What `quality_variants.py` compares: the built-in engine with one of its ideas changed each time.

A variant is data: which constants of the engine it changes, and to what.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from importlib import import_module

from partwise.geometric.scorer import Committee, PartScorer

ENGINE = "partwise.geometric"
COUNTING = "part_count."


@dataclass(frozen=True)
class Change:
    """A constant's new value: `factor` times the built one, plus `shift`."""

    factor: float = 1.0
    shift: float = 0.0

    def of(self, built: float) -> float:
        """The new value for a built one."""
        return self.factor * built + self.shift


def to(value: float) -> Change:
    """This value, whatever is built in."""
    return Change(0.0, value)


def times(factor: float) -> Change:
    """So many times what is built in."""
    return Change(factor)


def plus(shift: float) -> Change:
    """So much more than what is built in."""
    return Change(shift=shift)


@dataclass(frozen=True)
class Variant:
    """The engine with one idea changed.

    why: what is changed, in words. changes: by constant, as “agglomerate.CREASE” for one of
    `partwise.geometric.agglomerate`. members: how many perceptrons of each committee are asked,
    or None for all.
    """

    name: str
    why: str
    changes: Mapping[str, Change] = field(default_factory=dict)
    members: int | None = None


AS_BUILT = "as built"
SHARES = ("agglomerate.PIECE_SHARE", "agglomerate.BODY_SHARE")
SIGHTS = ("agglomerate.BLINDNESS", "agglomerate.BODY_BLINDNESS")
BODIES, GROOVED = "part_count.BODIES_PRICE", "part_count.GROOVED_PRICE"
PRICES = ("part_count.SMOOTH_PRICE", GROOVED, BODIES)
ONE_PRICE, STEP = -1.75, 0.3  # logarithm of a price, and how far the prices are moved

VARIANTS = (
    Variant(AS_BUILT, "nothing"),
    Variant("no creases", "a crease costs nothing", {"agglomerate.CREASE": to(0.0)}),
    Variant("creases half", "a crease costs half", {"agglomerate.CREASE": times(0.5)}),
    Variant("creases double", "a crease costs double", {"agglomerate.CREASE": times(2.0)}),
    Variant("no sight", "not seeing each other costs nothing", dict.fromkeys(SIGHTS, to(0.0))),
    Variant(
        "no thickness",
        "unlike thickness costs nothing when pieces are joined",
        {"agglomerate.THICKNESS": to(0.0)},
    ),
    Variant("nothing learned", "the scorer does not count", dict.fromkeys(SHARES, to(0.0))),
    Variant("learned half", "the scorer counts half", dict.fromkeys(SHARES, times(0.5))),
    Variant("learned double", "the scorer counts double", dict.fromkeys(SHARES, times(2.0))),
    Variant(
        "pieces not learned",
        "the scorer does not count within bodies",
        {"agglomerate.PIECE_SHARE": to(0.0)},
    ),
    Variant(
        "bodies not learned",
        "the scorer does not count between bodies",
        {"agglomerate.BODY_SHARE": to(0.0)},
    ),
    Variant("one perceptron", "one perceptron in place of each committee", members=1),
    Variant(
        "whole bodies not favoured",
        "that there are several bodies does not keep them whole",
        {"agglomerate.WHOLE_BODY": to(0.0)},
    ),
    Variant(
        "one usual price",
        "cutting stops alike on all surfaces",
        dict.fromkeys(PRICES, to(ONE_PRICE)),
    ),
    Variant("finer", "cutting stops at a lower price", dict.fromkeys(PRICES, plus(-STEP))),
    Variant("coarser", "cutting stops at a higher price", dict.fromkeys(PRICES, plus(STEP))),
    Variant("bodies finer", "several bodies are cut more", {BODIES: plus(-STEP)}),
    Variant("bodies coarser", "several bodies are cut less", {BODIES: plus(STEP)}),
    Variant("grooved finer", "surfaces full of grooves are cut more", {GROOVED: plus(-STEP)}),
    Variant("grooved coarser", "surfaces full of grooves are cut less", {GROOVED: plus(STEP)}),
    Variant("clearness ignored", "a cut need not stand out", {"part_count.CLEARNESS": to(0.0)}),
    Variant("clearness double", "standing out counts double", {"part_count.CLEARNESS": times(2.0)}),
    Variant("reach 1", "prices farther off all count alike", {"part_count.REACH": to(1.0)}),
    Variant("reach 10", "prices far off count as they are", {"part_count.REACH": to(10.0)}),
)


def new_values(variant: Variant) -> dict[str, float]:
    """The constants that a variant changes, with their new values; call it on the engine as built.

    Raises `AttributeError` or `ModuleNotFoundError` for a constant that the engine lacks.
    """
    return {name: change.of(built_value(name)) for name, change in variant.changes.items()}


def built_value(name: str) -> float:
    """A constant of the engine as it is now, named as in `Variant`."""
    module, _, constant = name.partition(".")
    value: float = getattr(import_module(f"{ENGINE}.{module}"), constant)
    return value


def joining_of(variant: Variant) -> tuple[object, ...]:
    """What the tree of a variant depends on: the rest of it only says where to stop cutting."""
    values = new_values(variant).items()
    return variant.members, *sorted(one for one in values if not one[0].startswith(COUNTING))


@contextmanager
def changed(variant: Variant) -> Iterator[None]:
    """The engine of this process with the variant's constants; as before on leaving."""
    values = new_values(variant)
    before = {name: built_value(name) for name in values}
    try:
        _set(values)
        yield
    finally:
        _set(before)


def _set(values: Mapping[str, float]) -> None:
    for name, value in values.items():
        module, _, constant = name.partition(".")
        setattr(import_module(f"{ENGINE}.{module}"), constant, value)


def smaller(scorer: PartScorer, members: int | None) -> PartScorer:
    """A scorer with the first `members` perceptrons of each committee, or with all of them."""

    def first(committee: Committee) -> Committee:
        return replace(committee, members=committee.members[:members])

    return PartScorer(first(scorer.pieces), first(scorer.bodies))
