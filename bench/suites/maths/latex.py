r"""One spelling for mathematical answers written in LaTeX or plain text. Strings only; it computes nothing.

What is ignored: spacing, ``\left``/``\right``, display variants of ``\frac``, dollars, degrees, percent signs, units
after a number, thousands separators, the braces of single digits. What is kept: everything that changes a value.
"""

import re

_SPACES = re.compile(r"\\(?:[,;:! ]|quad\b|qquad\b|displaystyle\b)|~")
_SIZES = re.compile(r"\\(?:left|right|[bB]igg?[lr]?)(?![a-zA-Z])")
_TEXT = re.compile(
    r"\\(?:text(?:bf|it|rm|sf|tt|normal)?|mbox|hbox|mathrm|mathbf|mathit|operatorname)\*?\s*\{([^{}]*)\}"
)
_UNIT = re.compile(r"(?<=[\d})])\s*\\(?:text(?:bf|it|rm)?|mbox|hbox|mathrm)\s*\{[^{}]*\}(?:\^\{?\d\}?)?")
_WORDS = (
    r"square|sq|cubic|cm|mm|km|m|meters?|metres?|in|inch|inches|feet|foot|ft|yards?|miles?|mph|units?|degrees?|"
    r"dollars?|cents?|hours?|minutes?|seconds?|days?|percent|grams?|kg|pounds?|ways"
)
_PLAIN_UNIT = re.compile(rf"(?<=\d)\s+(?:(?:{_WORDS})\b\s*)+(?:\^\{{?\d\}}?)?$")
_JOIN = re.compile(r"\\(?:text|mbox)\s*\{[\s,]*(?:and|or)\s*\}|(?<=[\w)}])\s*,?\s+(?:and|or)\s+(?=[\w\\({-])")
_THOUSANDS = re.compile(r"-?\d{1,3}(?:,\d{3})+(?:\.\d+)?")
_SYMBOLS = {"−": "-", "–": "-", "π": r"\pi", "∞": r"\infty", "√": r"\sqrt", "°": "", "×": r"\times", "·": r"\cdot"}
_SYMBOLS |= {"∪": r"\cup", "∈": r"\in", "±": r"\pm", "≤": r"\le", "≥": r"\ge", "“": "", "”": ""}

LONGEST = 1000
"""Characters of an answer that is looked into."""


def normal(text: str) -> str:
    r"""The common spelling, e.g. ``\left( 3, \dfrac\pi2 \right)`` -> ``(3,\frac{\pi}{2})``; no answer raises."""
    if len(text) > LONGEST:  # babble; nothing that is asked for is so long
        return re.sub(r"\s+", "", text)
    for symbol, latex in _SYMBOLS.items():
        text = text.replace(symbol, latex)
    text = _outer(text.strip())
    text = re.sub(r",\\!\s*(?=\d)", "", text).replace("{,}", "")
    text = re.sub(r"\^\s*(?:\{\s*\\circ\s*\}|\\circ(?![a-z]))|\\degree(?![a-z])|\\%|%|\\\$|\$", "", text)
    text = re.sub(r"\\[dtc]frac(?![a-z])", r"\\frac", _SIZES.sub("", text))
    text = re.sub(r"\\(?:le|ge)q(?![a-z])", lambda found: found[0][:-1], text)
    text = re.sub(r"\\(begin|end)\{[bB]matrix\}", r"\\\1{pmatrix}", text)
    text = _texts(text)
    text = _PLAIN_UNIT.sub("", _breaks(text).rstrip(". ,;"))
    text = _grouped(re.sub(r"(\\[a-zA-Z]+)\s+(?=[a-zA-Z])|\s+", lambda found: found[1] + " " if found[1] else "", text))
    text = re.sub(r"_\{(\w)\}", r"_\1", text)
    text = re.sub(r"\^\{(\w)\}", r"^\1", text)
    if _THOUSANDS.fullmatch(text):
        text = text.replace(",", "")
    choice = re.fullmatch(r"\(([A-Z])\)", text)
    return choice[1] if choice else text


def _outer(text: str) -> str:
    r"""Without ``$..$``, ``\(..\)``, ``\[..\]`` around all of it."""
    for start, end in (("$$", "$$"), ("$", "$"), (r"\(", r"\)"), (r"\[", r"\]")):
        inner = text[len(start) : -len(end)]
        if text.startswith(start) and text.endswith(end) and len(text) >= len(start + end) and start not in inner:
            return inner.strip()
    return text


def _texts(text: str) -> str:
    r"""Words joined by commas, units dropped, ``\text{..}`` opened."""
    text = _UNIT.sub("", _JOIN.sub(",", text))
    while True:
        opened = _TEXT.sub(lambda found: found[1], text)
        if opened == text:
            return text
        text = opened


def _breaks(text: str) -> str:
    """Spaces that LaTeX commands make, without touching a matrix's row breaks."""
    return r"\\".join(_SPACES.sub(" ", part) for part in text.split(r"\\"))


def _grouped(text: str) -> str:
    r"""``\frac12`` -> ``\frac{1}{2}``, ``\sqrt3`` -> ``\sqrt{3}``: every argument in braces."""
    out, at = [], 0
    for found in re.finditer(r"\\(frac|sqrt)(?![a-zA-Z])", text):
        if found.start() < at:
            continue
        out.append(text[at : found.start()] + found[0])
        at = found.end()
        if found[1] == "sqrt" and text[at : at + 1] == "[":
            close = text.find("]", at) + 1
            out.append(text[at:close])
            at = close if close else at
        for _ in range(2 if found[1] == "frac" else 1):
            argument, at = _argument(text, at)
            out.append(argument)
    return "".join(out) + text[at:]


def _argument(text: str, at: int) -> tuple[str, int]:
    """The argument that starts at ``at``, in braces, and where it ends; nothing where there is none."""
    if at >= len(text) or text[at] in "})],":
        return "", at
    if text[at] == "{":
        end = closing(text, at)
        return ("{" + _grouped(text[at + 1 : end]) + "}", end + 1) if end > 0 else (text[at:], len(text))
    command = re.compile(r"\\[a-zA-Z]+").match(text, at)
    if command and command[0] in (r"\frac", r"\sqrt"):
        inner = _grouped(text[at:])
        return "{" + inner + "}", len(text)
    end = command.end() if command else at + 1
    return "{" + text[at:end] + "}", end


def closing(text: str, start: int) -> int:
    """The place of the brace that closes the one at ``start``; -1 if none does. Escaped braces do not count."""
    depth, at = 0, start
    while at < len(text):
        if text[at] == "\\":
            at += 2
            continue
        depth += (text[at] == "{") - (text[at] == "}")
        if depth == 0:
            return at
        at += 1
    return -1
