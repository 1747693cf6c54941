"""What the flags of a request name, held against what there is: images by name, and accepted vulnerabilities."""

import re
from collections.abc import Iterator

from deployer.errors import BadInputError, did_you_mean, nearest
from deployer.types import Knowledge, Request

_HOW = "write it as --image PROFILE=registry/repository:tag, or with @sha256:… for exactly one image"


def check(request: Request, knowledge: Knowledge) -> None:
    """Raise BadInputError for the name of an image that Docker would not take, and for an unknown vulnerability."""
    if request.image_reference is not None:
        _reference(request.image, request.image_reference)
    known = {item.id.casefold(): item.id for item in knowledge.advisories}
    for word in request.allow_vulnerable:
        if word.casefold() not in known:
            raise _unknown(word, sorted(known.values()))


def moving_tag(request: Request) -> str | None:
    """A sentence for a tag that its owner moves from image to image; None for a version or a digest."""
    if request.image_reference is None:
        return None
    from deployer.images import parse_reference

    parsed = parse_reference(request.image_reference)
    tag = parsed.tag or ""
    if parsed.digest is not None or (tag != "latest" and re.search(r"\d", tag)):
        return None
    said = "has no tag, which means latest" if ":" not in request.image_reference.rpartition("/")[2] else "moves"
    return (
        f"--image {request.image}={request.image_reference}: the tag {said}, and may name another image tomorrow; "
        "`up` pins what it finds, and @sha256:… says which one from the start"
    )


def _reference(profile: str | None, text: str) -> None:
    from deployer.images import parse_reference

    if not text:
        raise BadInputError(f"--image {profile}=: no image stands behind the equals sign", hint=_HOW)
    try:
        parse_reference(text)
    except BadInputError as error:
        meant = did_you_mean([*_meant(text)][:1])
        raise BadInputError(f"--image {profile}: {error.message}{meant}", hint=_HOW) from error


def _meant(text: str) -> Iterator[str]:
    """The same without what no name of an image has: blanks, a colon at the end, capital letters but in the tag."""
    from deployer.images import parse_reference

    plain = re.sub(r"^[a-z]+://", "", "".join(text.split())).rstrip(":@/")
    name, colon, tag = plain.rpartition(":")
    for tried in (plain, f"{name.lower()}{colon}{tag}" if colon else plain.lower(), plain.lower()):
        try:
            parse_reference(tried)
        except BadInputError:
            continue
        yield tried


def _unknown(word: str, known: list[str]) -> BadInputError:
    meant = did_you_mean(nearest(word, known, 0.6))
    return BadInputError(
        f"--allow-vulnerable {word}: no such vulnerability is known here{meant}",
        hint="the refusal names the ids that it stands on: deployer plan MODEL --explain",
        details={"known": known},
    )
