"""Which architectures read a text whole."""

_ENCODERS = ("bert", "gemma-embedding", "t5encoder", "eurobert")


def is_encoder(name: str) -> bool:
    """True for a GGUF architecture whose tokens see those after them too: it keeps no keys and values, nor writes."""
    return any(part in name for part in _ENCODERS)
