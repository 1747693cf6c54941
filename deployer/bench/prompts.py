"""Prompts of a wanted length that no cache has seen, sized by what the server itself counts."""

import random

from deployer.bench.reply import Question

_LIST = (
    "time year people way day man thing woman life child world school state family student group country problem hand "
    "part place case week company system program question work government number night point home water room mother "
    "area money story fact month lot right study book eye job word business issue side kind head house service friend "
    "father power hour game line end member law car city name team minute idea body back parent face level office door "
    "health person art war history party result change morning reason research girl guy moment air teacher force"
)
WORDS = tuple(_LIST.split())
"""Words that are one token in most vocabularies; where they are not, the server's own count corrects it."""

_TASK = "\nWrite a very long story in which all of these words appear."
_FEWEST = 4


class Sizing:
    """How the server counts: tokens = overhead + per_word * words. Starts with a guess and learns from two counts."""

    def __init__(self) -> None:
        self.per_word, self.overhead = 1.0, 45.0
        self._seen: list[tuple[int, int]] = []

    def learn(self, words: int, tokens: int) -> None:
        """Take in what the server counted for a prompt of so many words; the last two that differ decide."""
        self._seen.append((words, tokens))
        (few, fewer), (many, more) = min(self._seen), max(self._seen)
        if many > few and more > fewer:
            self.per_word = (more - fewer) / (many - few)
            self.overhead = max(fewer - self.per_word * few, 0.0)

    def words(self, tokens: int) -> int:
        """How many words make a prompt of about so many tokens."""
        return max(round((tokens - self.overhead) / self.per_word), _FEWEST)

    @property
    def shortest_tokens(self) -> int:
        """The shortest prompt there is."""
        return round(self.overhead + self.per_word * _FEWEST)


class Prompts:
    """An endless row of prompts; the same seed makes the same row. No two in a row begin with the same word."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)  # noqa: S311 - nothing is kept secret by it
        self._first = self._random.randrange(len(WORDS))
        self.sizing = Sizing()

    def question(self, tokens: int, output_tokens: int) -> Question:
        """A prompt of about `tokens` tokens, the chat template's own included."""
        return self.of_words(self.sizing.words(tokens), output_tokens)

    def of_words(self, count: int, output_tokens: int) -> Question:
        """A prompt of `count` words and the task."""
        self._first = (self._first + 1) % len(WORDS)
        words = [WORDS[self._first], *(self._random.choice(WORDS) for _ in range(count - 1))]
        return Question(text=" ".join(words) + _TASK, output_tokens=output_tokens)

    def shuffled(self, values: list[int]) -> list[int]:
        """The values in another order."""
        return self._random.sample(values, len(values))
