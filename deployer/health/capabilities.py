"""The list of trials: one for each capability, in the order in which they are tried and shown."""

from collections.abc import Callable

import msgspec

from deployer.health.capabilities_access import key, malformed, open_paths, unknown_model
from deployer.health.capabilities_bound import choice, grammar, regex
from deployer.health.capabilities_chat import batch, chat, history, model_info, parallel, streaming, usage
from deployer.health.capabilities_clients import model_by_name, responses, tool_by_name
from deployer.health.capabilities_embedding import embeddings
from deployer.health.capabilities_parameters import logprobs, max_tokens, repeatable, seed, several, stop
from deployer.health.capabilities_prompt import long_prompt, prefix_cache, too_long
from deployer.health.capabilities_rerank import rerank
from deployer.health.features import structured_output, tool_calling
from deployer.health.trial import Live


class Capability(msgspec.Struct, frozen=True, kw_only=True):
    """One trial: it returns the evidence, or raises. `chats`: it needs a server that chats."""

    name: str
    run: Callable[[Live], str]
    chats: bool = True


CAPABILITIES: tuple[Capability, ...] = (
    Capability(name="model info", run=model_info, chats=False),
    Capability(name="rerank", run=rerank, chats=False),
    Capability(name="embeddings", run=embeddings, chats=False),
    Capability(name="chat", run=chat, chats=False),
    Capability(name="key", run=key, chats=False),
    Capability(name="open paths", run=open_paths, chats=False),
    Capability(name="malformed request", run=malformed, chats=False),
    Capability(name="unknown model", run=unknown_model, chats=False),
    Capability(name="model by name", run=model_by_name, chats=False),
    Capability(name="history", run=history),
    Capability(name="streaming", run=streaming),
    Capability(name="token usage", run=usage),
    Capability(name="max_tokens", run=max_tokens),
    Capability(name="stop", run=stop),
    Capability(name="repeatable", run=repeatable),
    Capability(name="seed", run=seed),
    Capability(name="n", run=several),
    Capability(name="logprobs", run=logprobs),
    Capability(name="structured output", run=structured_output),
    Capability(name="choice", run=choice),
    Capability(name="regex", run=regex),
    Capability(name="grammar", run=grammar),
    Capability(name="tool calling", run=tool_calling),
    Capability(name="tool by name", run=tool_by_name),
    Capability(name="responses", run=responses),
    Capability(name="batch", run=batch),
    Capability(name="parallel requests", run=parallel),
    Capability(name="prefix cache", run=prefix_cache),
    Capability(name="long prompt", run=long_prompt),
    Capability(name="too long prompt", run=too_long),
)
