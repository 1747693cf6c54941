"""One streamed question to a live server, in the shape in which `bench` wants it."""

import time
from collections.abc import Callable, Mapping, Sequence

from deployer import bench, health

FIXED: tuple[str, ...] = ("ignore_eos", "min_tokens")
"""Fields that hold an answer to its full length: llama.cpp, vLLM, SGLang and TensorRT-LLM know the first; whoever
refuses it is asked with the second, and then without. A server that ignores them is seen by its shorter answers."""

_REFUSED = frozenset({400, 422})


class Asking:
    """Asks with a fixed seed at temperature 0; after the first answer by as many threads as like.

    Until then a field that is refused is left out; later a refusal says something else (a prompt that is too long).
    """

    def __init__(self, client_of: Callable[[], health.Client], model: str) -> None:
        self._client_of, self._model = client_of, model
        self._fields: list[str | None] = [*FIXED, None]
        self._settled = False

    @property
    def fixed_by(self) -> str | None:
        """The field that holds answers to their length; None where none is accepted."""
        return self._fields[0]

    def __call__(self, question: bench.Question, until_s: float, stopped: bench.Stopped) -> bench.Reply:
        """Ask; whatever the server does wrong is in the reply."""
        while True:
            field = self.fixed_by
            reply, status = self._once(question, field, until_s, stopped)
            if self._settled or status not in _REFUSED or field is None:
                self._settled = self._settled or reply.answered
                return reply
            self._fields = self._fields[1:]

    def _once(
        self, question: bench.Question, field: str | None, until_s: float, stopped: bench.Stopped
    ) -> tuple[bench.Reply, int | None]:
        """One request; with the HTTP status of a refusal."""
        client = self._client_of()
        client.limit(until_s - time.perf_counter())
        messages: Sequence[Mapping[str, object]] = [{"role": "user", "content": question.text}]
        sent_s, seen = time.perf_counter(), health.Answering()
        error: health.ProtocolError | None = None
        try:
            client.stream(
                messages,
                model=self._model,
                max_tokens=question.output_tokens,
                into=seen,
                enough=lambda _: stopped(),
                temperature=0,
                seed=1,
                **_fixed(field, question.output_tokens),
            )
        except health.ProtocolError as caught:
            error = caught
        return _reply(sent_s, seen, error, stopped), None if error is None else error.status


def _fixed(field: str | None, tokens: int) -> dict[str, object]:
    if field is None:
        return {}
    return {field: tokens if field == "min_tokens" else True}


def _reply(
    sent_s: float, seen: health.Answering, error: health.ProtocolError | None, stopped: bench.Stopped
) -> bench.Reply:
    return bench.Reply(
        sent_s=sent_s,
        pieces_s=tuple(seen.arrived_s),
        last_s=seen.last_s,
        finished=seen.finished,
        prompt_tokens=seen.prompt_tokens,
        cached_tokens=seen.cached_tokens,
        output_tokens=seen.completion_tokens,
        unfinished=not seen.finished and (stopped() or (error is not None and error.timed_out)),
        error=None if error is None else error.message,
    )
