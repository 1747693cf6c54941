"""The one Jinja environment: strict, no computing in templates, one filter of ours."""

import functools
import json
import unicodedata
from typing import TYPE_CHECKING

from deployer.errors import DeployerError
from deployer.paths import data_dir

if TYPE_CHECKING:
    from jinja2 import Environment

# Control, format (bidi marks too), surrogate, unassigned or private: not for a reviewer's eyes as they are.
_HIDDEN = frozenset({"Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp"})
_LAST_OF_FOUR_DIGITS = 0xFFFF


def scalar(value: object) -> str:
    r"""A whole value as one line: JSON, which YAML reads as a double-quoted scalar or a flow list.

    `$` is doubled, because Compose interpolates; what a reviewer could not see is written as an escape. Characters
    beyond U+FFFF use YAML's own `\U` form (YAML 1.2 chapter 5.7), since YAML has no surrogate pairs.
    Raises DeployerError for an undefined value or None.
    """
    if value is None or not isinstance(value, str | int | float | list | tuple | dict):
        raise DeployerError(f"a template printed a value that is not there: {value!r}"[:200])
    text = json.dumps(value, ensure_ascii=False)
    if not text.isascii() or "\x7f" in text:
        text = "".join(_escaped(character) for character in text)
    return text.replace("$", "$$")


def render_template(name: str, **values: object) -> str:
    """Text of `templates/<name>`. Raises DeployerError (a bug) for an undefined name or a broken template."""
    import jinja2

    try:
        return environment().get_template(name).render(values)
    except jinja2.TemplateNotFound as error:
        raise DeployerError(f"template {error} is not part of this installation") from error
    except jinja2.TemplateError as error:
        raise DeployerError(f"template {name}: {error}") from error


@functools.cache
def environment() -> "Environment":
    """Strict undefined names, our own templates only, no HTML escaping (no HTML is written)."""
    import jinja2

    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(data_dir("templates")),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=jinja2.select_autoescape(enabled_extensions=()),
    )
    made.filters["scalar"] = _strict_scalar
    return made


def _strict_scalar(value: object) -> str:
    import jinja2

    if isinstance(value, jinja2.Undefined):
        str(value)  # StrictUndefined raises with the name that is missing
    return scalar(value)


def _escaped(character: str) -> str:
    if unicodedata.category(character) not in _HIDDEN:
        return character
    code = ord(character)
    return f"\\u{code:04x}" if code <= _LAST_OF_FOUR_DIGITS else f"\\U{code:08x}"
