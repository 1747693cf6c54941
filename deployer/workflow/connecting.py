"""`connect`: what a client needs, ready to paste. The key stays in its file."""

from collections.abc import Callable

from deployer.workflow.endpoint import Endpoint


def document(found: Endpoint) -> dict[str, object]:
    """The document of `connect --json`."""
    return {
        "format_version": 1,
        "name": found.name,
        "base_url": found.base_url,
        "model": found.model,
        "key_file": found.key_file,
    }


def snippet(found: Endpoint, client: str) -> str:
    """Text for one client of SNIPPETS."""
    return SNIPPETS[client](found).strip()


def _openai(found: Endpoint) -> str:
    return f"""
from pathlib import Path

from openai import OpenAI

client = OpenAI(base_url="{found.base_url}", api_key=Path("{found.key_file}").read_text().strip())
answer = client.chat.completions.create(
    model="{found.model}", messages=[{{"role": "user", "content": "What is the capital of France?"}}]
)
print(answer.choices[0].message.content)
"""


def _curl(found: Endpoint) -> str:
    return f"""
printf 'Authorization: Bearer %s' "$(cat '{found.key_file}')" |
  curl --fail-with-body --silent --show-error -H @- -H 'Content-Type: application/json' \\
    -d '{{"model": "{found.model}", "messages": [{{"role": "user", "content": "What is the capital of France?"}}]}}' \\
    '{found.base_url}/chat/completions'
"""


def _langchain(found: Endpoint) -> str:
    return f"""
from pathlib import Path

from langchain_openai import ChatOpenAI

llm = ChatOpenAI(
    model="{found.model}", base_url="{found.base_url}", api_key=Path("{found.key_file}").read_text().strip()
)
print(llm.invoke("What is the capital of France?").content)
"""


def _n8n(found: Endpoint) -> str:
    return f"""
n8n, credential "OpenAI":
  API Key   the content of {found.key_file}
  Base URL  {found.base_url}
then choose the model {found.model}. {_reach(found)}
"""


def _openwebui(found: Endpoint) -> str:
    return f"""
Open WebUI, Settings > Connections > OpenAI API:
  URL      {found.base_url}
  API Key  the content of {found.key_file}
the model is {found.model}. {_reach(found)}
"""


def _reach(found: Endpoint) -> str:
    if found.loopback:
        return (
            "The port is published on this host's loopback only: a program in another container\n"
            "joins the server's network instead, and one on a laptop comes through `ssh -L`."
        )
    return "From another machine, put this host's name for the address. There is no TLS: keep it inside your network."


SNIPPETS: dict[str, Callable[[Endpoint], str]] = {
    "openai": _openai,
    "curl": _curl,
    "n8n": _n8n,
    "openwebui": _openwebui,
    "langchain": _langchain,
}
