"""Trials of structured output and tool calling, where the server's part and the model's skill are hard to part."""

import json
from collections.abc import Sequence
from typing import Any

from deployer.health.answers import Answer, ProtocolError, ToolCall
from deployer.health.client import Message
from deployer.health.trial import Broken, Live, NotSupported, refused, user

TOOL: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "get_temperature",
        "description": "Get the temperature of a city now, in degrees Celsius.",
        "strict": True,  # without it SGLang 0.5.23 does not hold the arguments to the schema
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "enum": ["Paris", "Rome", "Oslo"]}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}
# Every value is from a short list: a small model can neither fail nor ramble when the server enforces it.
SCHEMA = {
    "type": "object",
    "properties": {"city": {"enum": ["Paris", "Rome", "Oslo"]}, "large": {"type": "boolean"}},
    "required": ["city", "large"],
    "additionalProperties": False,
}
_ASKED = "What is the temperature in {} now? Use the tool."
_TOOL_TOKENS = 48
_LAST_TOKENS = 24


def structured_output(live: Live) -> str:
    """`response_format` with a JSON schema is enforced."""
    asked = {"type": "json_schema", "json_schema": {"name": "city", "strict": True, "schema": SCHEMA}}
    try:
        answer = live.ask("What is the capital of France? Is it large?", max_tokens=48, response_format=asked)
    except ProtocolError as error:
        raise refused(error, "response_format with a JSON schema") from error
    value = _object(answer.content)
    if value is None:
        raise NotSupported("the field is accepted and ignored: the answer is not JSON")
    if set(value) != {"city", "large"} or value["city"] not in {"Paris", "Rome", "Oslo"}:
        raise Broken(f"the answer does not follow the schema: {answer.content[:120]!r}")
    return f"the answer follows the schema: {json.dumps(value)}"


def tool_calling(live: Live) -> str:
    """The model asks for a tool, gets its result, and answers.

    It is asked freely first, then with the call required, then so after two calls like it: a server may let a small
    model talk for as long as it likes before the call that is required.
    """
    question = user(_ASKED.format("Paris"))
    freely = _request(live, [question], "auto")
    tries: tuple[tuple[str, Sequence[Message], str], ...] = (
        ("only when the call is required", [question], "required"),
        ("only when it is required, after two calls like it", [*_EXAMPLES, question], "required"),
    )
    turns: list[Message] = [question]
    how, call = "the model called it on its own", _usable(freely)
    for other, messages, choice in tries:
        if call is None:
            turns, how, call = list(messages), other, _usable(_request(live, messages, choice))
    if call is None:
        raise NotSupported(_why_no_call(live, question, freely))
    turns += _round(call.id or "call-1", call.name, call.arguments, 21)
    answer = live.client.chat(turns, model=live.model, max_tokens=_LAST_TOKENS, temperature=0, tools=[TOOL])
    if not answer.text.strip() and not answer.tool_calls:
        raise Broken("the answer after the tool's result is empty")
    used = "uses" if "21" in answer.text else "does not use"
    return f"{call.name}({call.arguments[:60]}), {how}; the last answer {used} the result"


def _round(call_id: str, name: str, arguments: str, celsius: int) -> list[Message]:
    """A call, and its result."""
    told = {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}
    asked: Message = {"role": "assistant", "content": None, "tool_calls": [told]}
    return [asked, {"role": "tool", "tool_call_id": call_id, "content": json.dumps({"celsius": celsius})}]


_EXAMPLES: Sequence[Message] = [
    turn
    for number, (city, celsius) in enumerate((("Rome", 25), ("Oslo", 9)))
    for turn in (
        user(_ASKED.format(city)),
        *_round(f"call-{number}", "get_temperature", json.dumps({"city": city}), celsius),
        {"role": "assistant", "content": f"It is {celsius} degrees in {city}."},
    )
]


def _why_no_call(live: Live, question: dict[str, object], with_tools: Answer) -> str:
    """Part the server from the model: tools that cost no prompt tokens never reached the model."""
    plain = live.client.chat([question], model=live.model, max_tokens=1, temperature=0)
    if plain.prompt_tokens is not None and plain.prompt_tokens == with_tools.prompt_tokens:
        return "tools are accepted, but the model's chat template leaves them out"
    return "tools reach the model, but it makes no usable call, even when one is required"


def _request(live: Live, messages: Sequence[Message], choice: str) -> Answer:
    try:
        return live.client.chat(
            messages, model=live.model, max_tokens=_TOOL_TOKENS, temperature=0, tools=[TOOL], tool_choice=choice
        )
    except ProtocolError as error:
        raise refused(error, f"tools with tool_choice '{choice}'") from error


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
