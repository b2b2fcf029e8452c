"""What can be told of a neural engine's run before it starts."""

from dataclasses import dataclass

from partwise.vram.plan import Plan


@dataclass(frozen=True)
class Outlook:
    """How a neural engine would run, as far as can be told before its work begins.

    seconds: 0 when what it would find out is kept from before. plan: None when none is needed, or
    when nobody tells how much memory there is.
    """

    seconds: float
    plan: Plan | None
