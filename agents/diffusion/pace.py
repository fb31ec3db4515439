"""How long a call takes on an emulated node: seconds, or a multiple of what this machine took. Arithmetic only."""

import re
from collections.abc import Mapping
from math import isfinite
from typing import Any

from aiflow.errors import InputError

_MULTIPLE = re.compile(r"(\d+(?:\.\d+)?)x")
_FORMS = "give seconds such as 0.5, a multiple of the machine's own time such as '3x', or either by kind of message"


class Pace:
    """The least time of a call: ``0.5`` s, ``"3x"`` as long as it took here, or a dict of these by kind of message.

    On a VirtualClock a call takes exactly its seconds. Raises InputError.
    """

    def __init__(self, said: Any = None) -> None:
        kinds = said if isinstance(said, Mapping) else {"": said}
        self._kinds = {str(kind): _read(value) for kind, value in kinds.items()}

    def seconds(self, kind: str, computed: float) -> float:
        """Seconds that a message of ``kind`` takes at least, where this machine computed for ``computed`` seconds."""
        fixed, multiple = self._kinds.get(kind) or self._kinds.get("") or (0.0, 0.0)
        return fixed + multiple * computed


def _read(value: Any) -> tuple[float, float]:
    if value is None:
        return 0.0, 0.0
    if isinstance(value, str) and (found := _MULTIPLE.fullmatch(value)):
        return 0.0, float(found[1])
    if isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value) and value >= 0:
        return float(value), 0.0
    raise InputError(f"pace={value!r} cannot be used; {_FORMS}.")
