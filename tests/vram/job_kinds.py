"""The forms that jobs of the planner's tests have: rung, precision, scale of weights, quality."""

from partwise.vram.plan import Rung

GIB = 2**30
KINDS = (
    (Rung.WHOLE, "fp32", 4, ""),
    (Rung.STREAMED, "fp32", 1, ""),
    (Rung.SIXTEEN_BIT, "bf16", 2, "slightly other masks"),
    (Rung.EIGHT_BIT, "int8", 1, "other masks"),
    (Rung.FOUR_BIT, "int4", 1, "rough masks"),
    (Rung.CPU, "fp32", 4, ""),
)


def streaming_of(rung: Rung) -> str:
    """The kind of streaming of a form with such a rung."""
    return "blocks" if rung is Rung.STREAMED else ""
