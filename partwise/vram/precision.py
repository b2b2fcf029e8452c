"""In which form each weight of a component is held, and how many bytes that takes. No torch."""

import math
from collections.abc import Callable
from dataclasses import dataclass

AS_IT_IS = "as it is"
QUANTIZED = ("int8", "int4")
INT4_BLOCK = 64  # weights that share a scale; what published 4-bit models use
_FLOAT_BYTES = {"fp32": 4, "bf16": 2, "fp16": 2}
_SCALE_BYTES = 4


def _never(key: str) -> bool:
    return False


@dataclass(frozen=True)
class PrecisionPolicy:
    """Which weights of a model may be held in less than 32 bits, by their keys.

    keep_fp32: those that stay float32 in every precision. quantizable: matrices that int8 and int4
    apply to; all else is then float32, since it is small beside them and products stay exact. Such
    a matrix is the weight of an `nn.Linear`, or its module calls it for its values
    (`quantize.QuantizedWeight`).
    """

    keep_fp32: Callable[[str], bool] = _never
    quantizable: Callable[[str], bool] = _never

    def form(self, key: str, shape: tuple[int, ...], *, is_float: bool, precision: str) -> str:
        """How a weight is held: one of `plan.PRECISIONS`, or AS_IT_IS when it is no float."""
        if not is_float:
            return AS_IT_IS
        if precision in QUANTIZED:
            is_matrix = len(shape) > 1 and math.prod(shape) > 0
            return precision if is_matrix and self.quantizable(key) else "fp32"
        return "fp32" if self.keep_fp32(key) else precision


NO_POLICY = PrecisionPolicy()  # everything in 16 bits, nothing quantised


def form_bytes(form: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Bytes of each tensor that holds a float weight of this shape: values, then scales.

    int8 has one scale for each row, int4 one for each block; the last block is filled up.
    """
    count = math.prod(shape)
    if form == "int8":
        return count, shape[0] * _SCALE_BYTES
    if form == "int4":
        blocks = -(-count // INT4_BLOCK)
        return blocks * INT4_BLOCK // 2, blocks * _SCALE_BYTES
    return (count * _FLOAT_BYTES[form],)
