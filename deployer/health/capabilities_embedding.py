"""Trial of embeddings."""

import math
from collections.abc import Sequence

from deployer.health.answers import ProtocolError
from deployer.health.trial import Broken, Live, NotSupported, refused

_TEXTS = ("A cat sits on the mat.", "A kitten is sitting on a rug.", "The tax law of 1998 was repealed.")
_SAME = 0.99


def embeddings(live: Live) -> str:
    """Several texts give as many vectors of one length, each the same as when it is asked alone."""
    if live.reranker:
        raise NotSupported("it ranks texts, and was not asked for vectors")
    try:
        alone = live.client.vectors(_TEXTS[:1], model=live.model)
    except ProtocolError as error:
        raise refused(error, "/v1/embeddings") from error
    live.vectors = True
    together = live.client.vectors(_TEXTS, model=live.model)
    if len(alone) != 1 or len(together) != len(_TEXTS):
        raise Broken(f"{len(_TEXTS)} texts gave {len(together)} vectors, one gave {len(alone)}")
    vectors = (*alone, *together)
    sizes = {len(vector) for vector in vectors}
    if len(sizes) != 1 or 0 in sizes:
        raise Broken(f"the vectors have {', '.join(str(size) for size in sorted(sizes))} numbers")
    if not all(math.isfinite(number) for vector in vectors for number in vector) or not all(map(any, vectors)):
        raise Broken("a vector holds no numbers to compare: zeros, infinities or no numbers at all")
    if cosine(alone[0], together[0]) < _SAME:
        raise Broken("a text gives another vector when it is asked together with others")
    near, far = cosine(together[0], together[1]), cosine(together[0], together[2])
    return f"{len(alone[0])} numbers; like texts {near:.2f}, unlike texts {far:.2f} (cosine)"


def cosine(one: Sequence[float], other: Sequence[float]) -> float:
    """Cosine of the angle between two vectors."""
    product = math.fsum(a * b for a, b in zip(one, other, strict=True))
    return product / (math.hypot(*one) * math.hypot(*other))
