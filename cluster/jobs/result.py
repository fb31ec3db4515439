"""A job's result: one marked line of JSON in its log, the last one if there are several.

So a script needs nothing of aiflow to have a result, and it can be fetched as long as the log is there.
"""

import json
from typing import Any

MARK = "AIFLOW-RESULT "


def report(value: Any) -> None:
    """Says, inside a job, that ``value`` (JSON) is its result. Raises TypeError if it is no JSON."""
    print(f"\n{MARK}{json.dumps(value)}", flush=True)


def find(log: str) -> Any:
    """The result in a job's log; None if it has none."""
    for line in reversed(log.splitlines()):
        if line.startswith(MARK):
            try:
                return json.loads(line.removeprefix(MARK))
            except ValueError:  # a line that was cut, or a user's own
                continue
    return None


class Lines:
    """The lines of a log that arrives in pieces, without results."""

    def __init__(self) -> None:
        self._rest = ""

    def feed(self, piece: str) -> list[str]:
        """The lines that are complete now."""
        *whole, self._rest = (self._rest + piece).split("\n")
        return _shown(whole)

    def end(self) -> list[str]:
        """What is left when nothing more comes."""
        rest, self._rest = self._rest, ""
        return _shown([rest] if rest else [])


def _shown(lines: list[str]) -> list[str]:
    return [line for line in lines if not line.startswith(MARK)]
