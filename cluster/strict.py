"""Pydantic models whose every complaint is one readable line: key path, value, remedy.

A user's file or call goes in; a frozen model or a ``TopologyError`` comes out. What the keys mean is not known here.
"""

from collections.abc import Callable, Iterable
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from aiflow.errors import TopologyError, UsageError, suggest


class Strict(BaseModel):
    """A frozen model without unknown keys. Raises TopologyError, never pydantic's ValidationError."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def __init__(self, **data: Any) -> None:
        try:
            super().__init__(**data)
        except ValidationError as error:
            details = sorted(error.errors(include_url=False), key=lambda d: d["type"] != "extra_forbidden")
            raise TopologyError(_line(details[0], list(type(self).model_fields))) from None


def quantity(read: Callable[[Any], float]) -> Callable[[Any], float]:
    """Makes a reader of ``aiflow.units`` a pydantic validator (booleans, lists and None included)."""

    def validate(value: Any) -> float:
        return read(value)

    return validate


def _line(detail: ErrorDetails, keys: list[str]) -> str:
    where = _path(detail["loc"])
    value = detail["input"]
    cause = detail.get("ctx", {}).get("error")
    match detail["type"]:
        case "value_error" if isinstance(cause, TopologyError) and where:
            return f"{where}{'' if str(cause).startswith('[') else '.'}{cause}"  # the line of a model inside this one
        case "value_error":
            return f"{where}: {cause}" if where else str(cause)
        case "extra_forbidden":
            return f"{where}: unknown key; {suggest(str(detail['loc'][-1]), keys)}"
        case "missing":
            return f"{where}: missing; add it."
    return f"{where}: {_short(value)} cannot be used: {_lower(detail['msg'])}."


def _path(parts: Iterable[int | str]) -> str:
    path = ""
    for part in parts:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else str(part)
    return path


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]


def require(condition: bool, message: str) -> None:
    """Raises UsageError with ``message`` unless ``condition`` holds."""
    if not condition:
        raise UsageError(message)
