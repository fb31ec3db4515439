"""What a run has asked and been told: a line per answer, so that a run that was killed asks nothing twice.

A torn last line is dropped. Knows no suite; ``cache.AskCache`` writes and reads it.
"""

import asyncio
import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from aiflow.errors import DataError
from aiflow.types import Answer, Message, Options

_ANSWER = TypeAdapter(Answer)


class RequestLog:
    """Answers by the key of what was asked, in a file that is appended to. Use one per folder and process."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.pending: set[asyncio.Task[Answer]] = set()
        self._answers = dict(_read(path))
        self._earlier = frozenset(self._answers)

    def __len__(self) -> int:
        return len(self._answers)

    async def settle(self, seconds: float) -> None:
        """Waits for what has been asked and not yet answered, so that it is not asked again."""
        if self.pending:
            await asyncio.wait(self.pending, timeout=seconds)

    def get(self, key: str, *, earlier: bool = False) -> Answer | None:
        """The recorded answer; ``earlier``: only one that was there when the log was opened."""
        return self._answers.get(key) if not earlier or key in self._earlier else None

    def put(self, key: str, answer: Answer) -> None:
        """Records an answer: one append, on disk when it returns."""
        self._answers[key] = answer
        line = json.dumps({"key": key, "answer": asdict(answer)}, ensure_ascii=False).encode() + b"\n"
        with self.path.open("ab", buffering=0) as file:
            file.write(line)


def key_of(agent: str, messages: tuple[Message, ...], options: Options | None) -> str:
    """A hash of who is asked what and how, pictures included."""
    said = [(m.role, m.text, [sha256(image.data).hexdigest() for image in m.images]) for m in messages]
    how: Mapping[str, Any] | None = None if options is None else asdict(options)
    return sha256(json.dumps([agent, said, how]).encode()).hexdigest()


def _read(path: Path) -> list[tuple[str, Answer]]:
    data = path.read_bytes() if path.exists() else b""
    if data and not data.endswith(b"\n"):
        data = data[: data.rfind(b"\n") + 1]
        os.truncate(path, len(data))
    found = []
    for number, line in enumerate(data.split(b"\n")[:-1], 1):
        try:
            row = json.loads(line)
            found.append((str(row["key"]), _ANSWER.validate_python(row["answer"])))
        except (ValueError, KeyError, TypeError, ValidationError) as error:
            raise DataError(f"{path}:{number} is not a recorded answer: {error}") from error
    return found
