"""Options of a call over an agent's defaults, and keyword options of back ends: unknown names are errors."""

from collections.abc import Iterable, Mapping
from dataclasses import fields, replace
from typing import Any

from aiflow.errors import InputError, suggest
from aiflow.types import Options

NAMES = tuple(field.name for field in fields(Options))


def known(given: Iterable[str], valid: Iterable[str], what: str) -> None:
    """Raises InputError naming the first of ``given`` that is not ``valid``, and the nearest that is."""
    names = list(valid)
    for name in given:
        if name not in names:
            raise InputError(f"{what} has no option {name!r}; {suggest(str(name), names)}")


def merge(defaults: Options, given: Options | Mapping[str, Any] | None) -> Options:
    """``given`` as it is if it is Options; a dict overrides the defaults that it names. Raises InputError."""
    if given is None:
        return defaults
    if isinstance(given, Options):
        return given
    if not isinstance(given, Mapping):
        raise InputError(f"options must be aiflow.Options or a dict, got {type(given).__name__}.")
    if not given:
        return defaults
    known(given, NAMES, "a call")
    try:
        return replace(defaults, **given)
    except TypeError as error:
        raise InputError(f"options cannot be read: {error}.") from error
