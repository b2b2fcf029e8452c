"""Which weights of P3-SAM may be held in less than 32 bits, by their keys. Knows no torch.

In fewer bits are the matrices of the encoder's blocks: 108 of 113 million weights. All else is
small, and much of it may not lose bits: the heads take their first layers apart, the stem sees
positions, norms and biases are added to everything.
"""

_BLOCK = "sonata.enc."
_MATRICES = (
    "cpe.0.weight",  # sparse convolution
    "cpe.1.weight",
    "attn.qkv.weight",
    "attn.proj.weight",
    "mlp.0.fc1.weight",
    "mlp.0.fc2.weight",
)


def is_quantizable(key: str) -> bool:
    """Whether int8 and int4 apply to the weight of this key of the checkpoint, prefix removed."""
    return key.startswith(_BLOCK) and key.endswith(_MATRICES)


def keeps_fp32(key: str) -> bool:
    """Whether it stays float32 in every precision."""
    return not is_quantizable(key)


# Root mean square of the error over that of the features, fp32 weights as the measure: the model in
# full size with regenerated weights, 3000 points (`benchmarks/precision.py`). What trained weights
# give is not measured.
MEASURED = {"bf16": 0.0125, "fp16": 0.0016, "int8": 0.032, "int4": 0.37}


def quality_words(precision: str) -> str:
    """What weights of a precision cost, as measured, for a plan; empty when nothing."""
    if precision not in MEASURED:
        return ""
    share = f"{100 * MEASURED[precision]:.2g} %"
    if precision == "int4":
        return f"point features change by about {share}: parts may come out differently"
    return f"point features change by about {share}: edges of parts may move a little"
