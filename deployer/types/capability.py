"""What `check` has to know of an engine: part of its profile."""

from typing import Literal

from deployer.types._value import Written


class Detect(Written, frozen=True, kw_only=True):
    """How a running server shows that it is this engine: what a GET of `path` answers as JSON.

    `key` is a dotted path in it (`data.0.owned_by`); `value` what stands there, a text or yes or no (None: anything
    that is not null).
    """

    path: str
    key: str
    source: str
    value: str | bool | None = None


class Extension(Written, frozen=True, kw_only=True):
    """A field of a chat request, beside those of OpenAI's API, that binds the answer to a form.

    `field` is its name, dotted where it stands inside an object (`structured_outputs.choice`). `form` is how the wish
    is written: a list of texts, a regular expression, or a grammar of rules (`root ::= "a" | "b"`).
    """

    field: str
    form: Literal["list", "regex", "grammar"]
    source: str


class Capabilities(Written, frozen=True, kw_only=True):
    """What `check` has to know of an engine, to ask in its own words.

    `choice`, `regex`, `grammar`: how an answer is bound to one of some texts, to a regular expression, to a grammar
    (None: it cannot). `routes` are what it serves (`POST /v1/embeddings`): each is asked without a key and with a wrong
    one, with an empty body, so that none may be listed that does something without being told what. `vectors_alone`:
    where it serves vectors it does not chat, and must not be asked to. `embedding`: what shows, without a request for
    work, that it was started for vectors alone; `reranker`: that it was started with a model that ranks texts.
    `ranks_alone`: where it ranks it does nothing else, and what it answers to all else means nothing.
    """

    detect: Detect | None = None
    choice: Extension | None = None
    regex: Extension | None = None
    grammar: Extension | None = None
    routes: tuple[str, ...] = ()
    vectors_alone: bool = False
    embedding: Detect | None = None
    reranker: Detect | None = None
    ranks_alone: bool = False
