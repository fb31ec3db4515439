"""A back end that repeats what a real model once answered, from the files that benchmarks publish.

It knows conversations and texts. Which forms of files there are is ``recordings``' knowledge.
"""

import os
from collections.abc import AsyncIterator, Sequence

from aiflow.agents.backends.recordings import Recording, read
from aiflow.errors import BackendError
from aiflow.types import Answer, Delta, Message, Options, Usage


class ReplayBackend:
    """Finds the recorded answer to the last user turn by the text of all user turns. ``Options`` have no effect.

    ``model``: ``replay:<file>#<name>``; the name may be left out where the file has one model only. ``questions``: the
    file with the questions, where it does not lie beside the answers. Tokens are counted in words, since no tokenizer
    was recorded.
    Raises DataError for a missing or malformed file, UnknownModelError for a model that the file does not have.
    """

    def __init__(self, model: str, *, questions: str | os.PathLike[str] | None = None) -> None:
        path, _, name = model.removeprefix("replay:").partition("#")
        self._recording: Recording = read(path, name, questions)

    async def stream(
        self,
        messages: Sequence[Message],
        options: Options,  # noqa: ARG002 - nothing is generated
    ) -> AsyncIterator[Delta | Answer]:
        """Yields the recorded answer. Raises BackendError where there is none."""
        turns = [message.text for message in messages if message.role == "user"]
        text = self._find(turns)
        usage = Usage(
            requests=1,
            prompt_tokens=sum(len(message.text.split()) for message in messages),
            completion_tokens=len(text.split()),
        )
        yield Delta(text=text)
        yield Answer(text=text, usage=usage)

    async def close(self) -> None:
        """Frees nothing."""

    def _find(self, turns: Sequence[str]) -> str:
        entry = self._recording.find(turns[0] if turns else "")
        if entry is None:
            raise BackendError(f"{self._recording.model} has no recorded answer to {_short(turns[:1])}.")
        asked, answers = entry
        for number, turn in enumerate(turns):
            if number >= len(answers) or not same(asked[number], turn):
                raise BackendError(
                    f"{self._recording.model} has no recorded answer to turn {number + 1}, {_short([turn])}."
                )
        return answers[len(turns) - 1]


def same(recorded: str, asked: str) -> bool:
    """Whether two questions differ in white space at most."""
    return recorded.split() == asked.split()


def _short(turns: Sequence[str]) -> str:
    text = " ".join("".join(turns).split())
    return repr(text if len(text) <= 60 else text[:57] + "...")
