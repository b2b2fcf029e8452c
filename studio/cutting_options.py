"""The command line's options on cutting a mesh into parts, and what they say."""

import argparse

from partwise.core.errors import ConfigError
from partwise.p3sam.settings import PRECISIONS
from studio.catalog import AUTO, GEOMETRIC
from studio.configuration import Configuration
from studio.segment import MAX_PART_COUNT, P3SamChoice, SegmentOptions, options_for
from studio.tree_file import TREE_FILE

_MAX_ALSO = 50


def add_cutting_options(parser: argparse.ArgumentParser) -> None:
    """Add the options; what is not given is left to the configuration."""
    parser.add_argument("--preset", default="balanced", help="a name in configs/presets")
    parser.add_argument("--parts", type=int, metavar="N", help="how many parts; default: chosen")
    parser.add_argument("--detail", type=float, default=0.5, help="0 few parts … 1 many parts")
    parser.add_argument("--seed", type=int, help="default: the engine's own")
    neural = parser.add_argument_group("P3-SAM")
    neural.add_argument("--points", type=int, metavar="N", help="sampled points; default: preset")
    neural.add_argument("--prompts", type=int, metavar="N", help="point prompts; default: preset")
    neural.add_argument("--prompt-batch", type=int, metavar="N", help="prompts in one pass")
    neural.add_argument("--precision", choices=PRECISIONS, help="of the heads")
    neural.add_argument("--nearest", action="store_true", help="faces by nearest points")
    neural.add_argument("--merge-small", action="store_true", help="small parts join a neighbour")


def add_tree_options(parser: argparse.ArgumentParser) -> None:
    """Add the options on more than one cut from one run of the built-in engine."""
    own = parser.add_argument_group("built-in engine, fewer and more parts")
    own.add_argument(
        "--also", default="", metavar="4,8", help="other numbers of parts: face_ids.4.npy, …"
    )
    own.add_argument(
        "--save-tree", action="store_true", help=f"write {TREE_FILE}, for “recut” later"
    )


def cutting_options(options: argparse.Namespace, configuration: Configuration) -> SegmentOptions:
    """The settings of the options; raises `ConfigError` when out of range."""
    chosen = P3SamChoice(
        options.points,
        options.prompts,
        options.prompt_batch,
        options.precision,
        is_connected=False if options.nearest else None,
        is_post_processed=True if options.merge_small else None,
    )
    return options_for(
        configuration,
        options.preset,
        part_count=options.parts,
        detail=options.detail,
        seed=options.seed,
        chosen=chosen,
    )


def cutting_engine(options: argparse.Namespace) -> str:
    """The engine of `segment`; what needs a tree needs the built-in one."""
    if not (options.also or options.save_tree):
        return str(options.engine)
    if options.engine not in (AUTO, GEOMETRIC):
        raise ConfigError(
            f"--also and --save-tree need the built-in engine, not {options.engine}. Leave "
            "--engine out."
        )
    return GEOMETRIC


def read_counts(text: str) -> tuple[int, ...]:
    """The numbers of parts in “4,8,16”, each once; raises `ConfigError` for anything else."""
    words = [word.strip() for word in text.split(",")] if text.strip() else []
    is_right = all(word.isascii() and word.isdecimal() and len(word) < 6 for word in words)
    counts = tuple(dict.fromkeys(map(int, words))) if is_right else (0,)
    if len(counts) > _MAX_ALSO or not all(1 <= count <= MAX_PART_COUNT for count in counts):
        raise ConfigError(
            f"--also is “{text[:60]}”; give up to {_MAX_ALSO} numbers of parts from 1 to "
            f"{MAX_PART_COUNT}, as in 4,8,16."
        )
    return counts
