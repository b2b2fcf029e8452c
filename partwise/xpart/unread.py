"""Which tensors of the three public files inference never reads. Knows no torch."""

_ENCODERS = ("geo_encoder.local_encoder.", "obj_encoder.")
_DECODER_HALF = ("pre_kl.", "post_kl.", "transformer.", "geo_decoder.")
_UNREAD = {
    "model": (),
    "conditioner": tuple(encoder + part for encoder in _ENCODERS for part in _DECODER_HALF),
    "shapevae": ("encoder.", "pre_kl."),
}


def is_unread(component: str, key: str) -> bool:
    """Whether a key of the “model”, “conditioner” or “shapevae” file is never read."""
    return key.startswith(_UNREAD[component])
