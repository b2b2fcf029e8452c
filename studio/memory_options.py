"""The command line's options on memory, the same for the server and for single commands."""

import argparse

from partwise.vram.plan import PRECISIONS, Ladder

_FIELDS = {
    "budget": "budget_gib",
    "ladder": "ladder",
    "hold": "weights",
    "isolate": "is_isolated",
}  # an option and the field of `VramSettings` that it sets


def add_memory_options(parser: argparse.ArgumentParser) -> None:
    """Add the options; what is not given is left to the environment and `configs/vram.yaml`."""
    group = parser.add_argument_group("memory")
    group.add_argument(
        "--budget", type=float, metavar="GIB", help="all that Partwise may hold; 0: what is free"
    )
    group.add_argument(
        "--ladder",
        choices=[ladder.value for ladder in Ladder],
        help="what may be given up to fit: any way, exact ones alone, or 8-bit, 4-bit, CPU",
    )
    group.add_argument(
        "--hold", choices=("auto", *PRECISIONS), help="precision of all weights; auto: as planned"
    )
    group.add_argument(
        "--isolate",
        action=argparse.BooleanOptionalAction,
        help="models run in a process of their own, which ends when it has nothing to do",
    )


def memory_overrides(options: argparse.Namespace) -> dict[str, object]:
    """The given options by their field of `VramSettings`, None where one was not given."""
    return {field: getattr(options, option, None) for option, field in _FIELDS.items()}
