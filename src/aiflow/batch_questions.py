"""Questions as JSON lines, read for a batch: ``{"id", "question"}``, ``{"id", "messages"}``, or OpenAI's form."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from aiflow.errors import DataError, InputError
from aiflow.types import conversation

FORMS = '{"id", "question"}, {"id", "messages"} or {"custom_id", "body": {"messages"}}'
_USED = {"id", "question", "messages", "custom_id", "method", "url", "body", "body.messages", "body.model"}


def read(path: Path) -> tuple[dict[str, Any], set[str]]:
    """The graph's input by id, in the file's order, and the names of fields in it that nothing uses.

    Raises DataError, which names the line, for what is no question and for an id that comes twice.
    """
    found: dict[str, Any] = {}
    unused: set[str] = set()
    lines: dict[str, int] = {}
    for number, line in _lines(path):
        try:
            id, messages, names = _question(json.loads(line))
            turns = conversation(messages)
        except (InputError, ValueError) as error:  # json's errors are ValueErrors
            raise DataError(f"{path}:{number} is no question: {error} A line is {FORMS}.") from error
        if id in lines:
            raise DataError(f"{path}:{number} has the id {id!r} of line {lines[id]}; give each question its own.")
        lines[id] = number
        found[id] = {"messages": [turn.openai() for turn in turns]}
        unused |= names - _USED
    if not found:
        raise DataError(f"{path} holds no question; write one on each line, as {FORMS}.")
    return found, unused


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield number, line
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); give a file of JSON lines.") from error
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path} is not UTF-8 ({error.reason} at byte {error.start}); give a file of JSON lines."
        ) from error


def _question(value: Any) -> tuple[str, Any, set[str]]:
    match value:
        case {"custom_id": id, "body": {"messages": [*messages], **others}}:
            names = {f"body.{name}" for name in others}
        case {"id": id, "messages": [*messages]}:
            names = set()
        case {"id": id, "question": str(messages)}:
            names = set()
        case _:
            raise InputError(f"{str(value)[:60]!r} has no id, or no question.")
    if isinstance(id, bool) or not isinstance(id, str | int) or id == "":
        raise InputError(f"the id {id!r} is neither a text nor a number.")
    return str(id), messages, names | set(value)
