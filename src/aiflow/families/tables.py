"""Results as aligned text on stdout, progress as lines on stderr. Knows no models."""

import json
import sys
from collections.abc import Sequence
from typing import Any


def table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Prints columns that line up: the first to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(titles, *rows, strict=True)]
    for row in (titles, *rows):
        cells = (cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))
        print("  ".join((row[0].ljust(widths[0]), *cells)))
    print()


def say(line: str) -> None:
    """One line of progress."""
    print(line, file=sys.stderr, flush=True)


def end(result: dict[str, Any], wanted: bool) -> None:
    """The result as one JSON object on the last line of stdout, if ``wanted``."""
    if wanted:
        print(json.dumps(result))


def percent(share: float) -> str:
    """``0.1234`` -> ``12.3 %``."""
    return f"{100 * share:.1f} %"
