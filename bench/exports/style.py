"""What Arena-Hard's style control counts in an answer: length, headers, lists, bold. Text only.

Source: lmarena/arena-hard-auto, utils/add_markdown_info.py. Its lengths are tokens of GPT's vocabulary; ours are words
and signs, which needs no vocabulary and is the same for every model.
"""

import re
from typing import Any

_FENCED = re.compile("```([^`]*)```")
_WORDS = re.compile(r"\w+|[^\w\s]")
_LISTS = {"ordered": r"^\s*\d+\.\s", "unordered": r"^\s*[-*+]\s"}
_BOLD = {"**": r"\*\*[^*\n]+\*\*", "__": r"__[^_\n]+__"}


def words(text: str) -> int:
    """The number of words and signs."""
    return len(_WORDS.findall(text))


def style(text: str) -> dict[str, Any]:
    """``token_len`` of the whole; ``header_count``, ``list_count`` and ``bold_count`` outside of fenced code."""
    prose = _FENCED.sub("``````", text)

    def count(pattern: str) -> int:
        return len(re.findall(pattern, prose, re.MULTILINE))

    return {
        "token_len": words(text),
        "header_count": {f"h{level}": count(rf"^#{{{level}}}\s") for level in range(1, 7)},
        "list_count": {name: count(pattern) for name, pattern in _LISTS.items()},
        "bold_count": {name: count(pattern) for name, pattern in _BOLD.items()},
    }
