"""Trials of structured output and tool calling, where the server's part and the model's skill are hard to part."""

import json
from typing import Any

from deployer.health.answers import Answer, ProtocolError, ToolCall
from deployer.health.client import Message
from deployer.health.trial import ABSENT, Broken, Live, NotSupported, user

_TOOL = {
    "type": "function",
    "function": {
        "name": "get_temperature",
        "description": "Get the temperature of a city now, in degrees Celsius.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
# Every value is from a short list: a small model can neither fail nor ramble when the server enforces it.
_SCHEMA = {
    "type": "object",
    "properties": {"city": {"enum": ["Paris", "Rome", "Oslo"]}, "large": {"type": "boolean"}},
    "required": ["city", "large"],
    "additionalProperties": False,
}
_TOOL_TOKENS = 96


def structured_output(live: Live) -> str:
    """`response_format` with a JSON schema is enforced."""
    asked = {"type": "json_schema", "json_schema": {"name": "city", "strict": True, "schema": _SCHEMA}}
    try:
        answer = live.ask("What is the capital of France? Is it large?", max_tokens=48, response_format=asked)
    except ProtocolError as error:
        raise _absent(error, "response_format with a JSON schema") from error
    value = _object(answer.content)
    if value is None:
        raise NotSupported("the field is accepted and ignored: the answer is not JSON")
    if set(value) != {"city", "large"} or value["city"] not in {"Paris", "Rome", "Oslo"}:
        raise Broken(f"the answer does not follow the schema: {answer.content[:120]!r}")
    return f"the answer follows the schema: {json.dumps(value)}"


def tool_calling(live: Live) -> str:
    """The model asks for a tool, gets its result, and answers: first freely, then with the call required."""
    question = user("What is the temperature in Paris now? Use the tool.")
    freely = _request(live, question, "auto")
    call = _usable(freely)
    how = "the model called it on its own"
    if call is None:
        call = _usable(_request(live, question, "required"))
        how = "only when the call is required"
    if call is None:
        raise NotSupported(_why_no_call(live, question, freely))
    told = {"id": call.id or "call-1", "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
    turns: list[Message] = [question, {"role": "assistant", "content": None, "tool_calls": [told]}]
    turns.append({"role": "tool", "tool_call_id": told["id"], "content": '{"celsius": 21}'})
    answer = live.client.chat(turns, model=live.model, max_tokens=_TOOL_TOKENS, temperature=0, tools=[_TOOL])
    if not answer.text.strip() and not answer.tool_calls:
        raise Broken("the answer after the tool's result is empty")
    used = "uses" if "21" in answer.text else "does not use"
    return f"{call.name}({call.arguments[:60]}), {how}; the last answer {used} the result"


def _why_no_call(live: Live, question: dict[str, object], with_tools: Answer) -> str:
    """Part the server from the model: tools that cost no prompt tokens never reached the model."""
    plain = live.client.chat([question], model=live.model, max_tokens=1, temperature=0)
    if plain.prompt_tokens is not None and plain.prompt_tokens == with_tools.prompt_tokens:
        return "tools are accepted, but the model's chat template leaves them out"
    return "tools reach the model, but it makes no usable call, even when one is required"


def _request(live: Live, question: dict[str, object], choice: str) -> Answer:
    try:
        return live.client.chat(
            [question], model=live.model, max_tokens=_TOOL_TOKENS, temperature=0, tools=[_TOOL], tool_choice=choice
        )
    except ProtocolError as error:
        raise _absent(error, f"tools with tool_choice '{choice}'") from error


def _usable(answer: Answer) -> ToolCall | None:
    """The first call of the offered tool with arguments that are a JSON object."""
    for call in answer.tool_calls:
        if call.name == "get_temperature" and _object(call.arguments) is not None:
            return call
    return None


def _object(text: str) -> dict[str, Any] | None:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _absent(error: ProtocolError, what: str) -> Exception:
    """A refusal means that it is not offered; anything else is a fault."""
    if error.status in ABSENT or (error.status == 500 and "not support" in error.message):  # noqa: PLR2004
        return NotSupported(f"{what} is refused: {error.message}")
    return error
