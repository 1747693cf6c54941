"""`connect`: what a client needs, ready to paste. The key stays in its file."""

import getpass
import json
import shlex
import socket
from collections.abc import Callable
from urllib.parse import urlsplit

from deployer.types.address import in_url
from deployer.workflow import container_clients
from deployer.workflow.endpoint import Endpoint

QUESTION = "What is the capital of France?"
TEXTS = ("Paris is the capital of France.", "A kitten is sitting on a rug.")
FIRST_UNPRIVILEGED = 1024
LOCAL_PORT = 8000
_PORTS = {"http": 80, "https": 443}


def document(found: Endpoint) -> dict[str, object]:
    """The document of `connect --json`.

    A container that joins one of `networks` finds the server at `container_base_url`; without networks it finds it
    there as it is, or, where that is null, not at all. `reranker`: it ranks texts and does not chat.
    """
    return {
        "format_version": 1,
        "name": found.name,
        "base_url": found.base_url,
        "model": found.model,
        "models": [found.model, *found.others],
        "key_file": found.key_file,
        "networks": [] if found.network is None else [found.network],
        "container_base_url": found.container_base_url,
        "adopted": found.adopted,
        "reranker": found.reranker,
    }


def snippet(found: Endpoint, client: str) -> str:
    """Text for one client of SNIPPETS; where several models answer, it says how the others are asked for."""
    if found.reranker and client not in _ANY_MODEL:
        return f"# {found.model} ranks texts and does not chat. Clients ask it so:\n{_curl(found).strip()}"
    others = f"\n\n# In the place of {found.model}: {', '.join(found.others)}" if found.others else ""
    return SNIPPETS[client](found).strip() + others


_ANY_MODEL = ("curl", "ssh")


def _openai(found: Endpoint) -> str:
    return f"""
{_imports(found)}from openai import OpenAI

client = OpenAI(base_url={_literal(found.base_url)}, api_key={_key(found)})
answer = client.chat.completions.create(
    model={_literal(found.model)}, messages=[{{"role": "user", "content": "{QUESTION}"}}]
)
print(answer.choices[0].message.content)
"""


def _langchain(found: Endpoint) -> str:
    return f"""
{_imports(found)}from langchain_openai import ChatOpenAI

llm = ChatOpenAI(
    model={_literal(found.model)}, base_url={_literal(found.base_url)}, api_key={_key(found)}
)
print(llm.invoke("{QUESTION}").content)
"""


def _curl(found: Endpoint) -> str:
    path, asked = _work(found)
    body = json.dumps({"model": found.model, **asked}, ensure_ascii=False)
    header = "" if found.key_file is None else "-H @- "
    words = f"""curl --fail-with-body --silent --show-error {header}-H 'Content-Type: application/json' \\
    -d {shlex.quote(body)} \\
    {shlex.quote(found.base_url + path)}"""
    if found.key_file is None:
        return words
    return f"""printf 'Authorization: Bearer %s' "$(cat {shlex.quote(found.key_file)})" |\n  {words}"""


def _work(found: Endpoint) -> tuple[str, dict[str, object]]:
    """The path below the base URL, and what is asked there beside the model's name."""
    if found.reranker:
        return "/rerank", {"query": QUESTION, "documents": TEXTS}
    return "/chat/completions", {"messages": [{"role": "user", "content": QUESTION}]}


def _ssh(found: Endpoint) -> str:
    """The tunnel, where the server is then, and how the key gets there without being shown."""
    parts = urlsplit(found.base_url)
    port = parts.port or _PORTS[parts.scheme]
    local = port if port >= FIRST_UNPRIVILEGED else LOCAL_PORT
    host = in_url(parts.hostname or "")
    login = shlex.quote(f"{getpass.getuser()}@{socket.gethostname()}")
    lines = [
        "# On the laptop; it stays open until Ctrl-C:",
        f"ssh -N -L {shlex.quote(f'127.0.0.1:{local}:{host}:{port}')} {login}",
        f"# Base URL there: {parts.scheme}://127.0.0.1:{local}{parts.path}   model: {found.model}",
    ]
    if found.key_file is not None:
        copy = f"(umask 077; ssh {login} cat {shlex.quote(shlex.quote(found.key_file))} > {found.name}.key)"
        lines += ["# The key, copied into a file that only you can read:", copy]
    if parts.scheme == "https":
        lines.append(f"# Its certificate names {parts.hostname}, not 127.0.0.1: clients check that name.")
    return "\n".join(lines)


def _imports(found: Endpoint) -> str:
    return "" if found.key_file is None else "from pathlib import Path\n\n"


def _key(found: Endpoint) -> str:
    """An expression of Python; the clients want some text also where no key is asked for."""
    return '"none"' if found.key_file is None else f"Path({_literal(found.key_file)}).read_text().strip()"


def _literal(text: str) -> str:
    """A text as Python writes it: names of models come from servers that are not ours."""
    return json.dumps(text, ensure_ascii=False)


SNIPPETS: dict[str, Callable[[Endpoint], str]] = {
    "openai": _openai,
    "curl": _curl,
    "n8n": container_clients.n8n,
    "openwebui": container_clients.openwebui,
    "langchain": _langchain,
    "ssh": _ssh,
}
