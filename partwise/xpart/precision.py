"""Which weights of X-Part may be held in less than 32 bits, by their keys. Knows no torch.

One rule for the three components, whose keys do not overlap. Float32 in every precision: norms, the
gate of the experts, the layers next to positions, times and latents, the layer that makes the
field's logit, and the point encoder, which works in float32. Fewer than 16 bits are for the
PartFormer's matrices: 3.28 of its 3.32 billion weights.
"""

_POINT_ENCODER = "seg_feat_encoder."
_WHOLE = (
    "part_embed",
    "x_embedder.",
    "t_embedder.",
    "final_layer.",
    _POINT_ENCODER,
)
_LAYERS = ("input_proj", "query_proj", "output_proj", "gate")
_BLOCK = "blocks."
_MATRICES = (
    "to_q.weight",
    "to_k.weight",
    "to_v.weight",
    "out_proj.weight",
    "fc1.weight",
    "fc2.weight",
    "net.0.proj.weight",
    "net.2.weight",
    "skip_linear.weight",
)


def is_quantizable(key: str) -> bool:
    """Whether int8 and int4 apply to the weight of this key of a checkpoint."""
    return key.startswith(_BLOCK) and key.endswith(_MATRICES)


def keeps_fp32(key: str) -> bool:
    """Whether it stays float32 in every precision."""
    if key.startswith(_WHOLE):
        return True
    return any(name in _LAYERS or _is_norm(name) for name in key.split("."))


def _is_norm(name: str) -> bool:
    return name.startswith(("norm", "ln_")) or name.endswith("_norm")


# Root mean square of the error over that of a step's velocity, fp32 weights as the measure: all 21
# blocks at a quarter of the width with regenerated weights, few tokens (`benchmarks/xpart.py`); two
# blocks at full width gave what two at a quarter gave. In 16 bits most of it is tokens that choose
# other experts. Trained weights: not measured.
MEASURED = {"bf16": 0.0095, "fp16": 0.0091, "int8": 0.040, "int4": 0.29}


def quality_words(precision: str) -> str:
    """What weights of a precision cost, as measured, for a plan; empty when nothing."""
    if precision not in MEASURED:
        return ""
    share = f"{100 * MEASURED[precision]:.2g} %"
    if precision == "int4":
        return f"each step changes by about {share}: parts may come out differently"
    return f"each step changes by about {share}: details of parts may move a little"
