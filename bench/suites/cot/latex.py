r"""The MATH benchmark's rule for comparing answers, as FastEval applies it to the last mathematical part of a line.

Strict on purpose: recorded verdicts follow it to the letter, its oddities included. For a fairer comparison see
``aiflow.bench.suites.maths.equal``. Source: hendrycks/math, math_equivalence; FastEval, cot benchmark.
"""

import re

_PAIRS = (("\\frac{", "}"), ("\\boxed{", "}"), ("\\[", "\\]"), ("$$", "$$"), ("$", "$"), ("{", "}"), ("(", ")"))
_REMOVED = ("\n", "\\!")
_DROPPED = ("\\left", "\\right", "^{\\circ}", "^\\circ", "\\$")


class UnreadableError(ValueError):
    """The benchmark's normalisation has no result for a text; it is then compared as it stands."""


def last_part(line: str) -> str:
    """The last formula or number of a line, without its delimiters and what stands before ``=``; empty if none."""
    parts = _parts(line)
    if not parts:
        return ""
    part = parts[-1].removesuffix(".")
    for start, end in (("$$", "$$"), ("$", "$"), ("\\[", "\\]")):
        if part.startswith(start) and part.endswith(end):
            part = part[len(start) : -len(end)]
    if part.startswith("\\boxed{"):
        part = part[7:-1]
    if "=" in part:
        part = part.split("=")[1]
    return part.replace("∞", "\\infty")


def _parts(line: str) -> list[str]:
    """Outermost bracketed formulas, and words that are numbers or start with a digit, in order."""
    parts: list[str] = []
    due: list[str] = []  # what closes the open brackets, the innermost last
    at = 0
    while at < len(line):
        if due and line.startswith(due[-1], at):
            parts[-1] += due[-1]
            at += len(due.pop())
        elif pair := next((pair for pair in _PAIRS if line.startswith(pair[0], at)), None):
            parts += [] if due else [""]
            parts[-1] += pair[0]
            due.append(pair[1])
            at += len(pair[0])
        elif due:
            parts[-1] += line[at]
            at += 1
        elif line[at] == " ":
            at += 1
        else:
            word = line[at:].split(" ", 1)[0]
            word = word[:-1] if len(word) > 1 and word.endswith(".") else word
            parts += _number(word)
            at += len(word)
    return parts


def _number(word: str) -> list[str]:
    for read in (int, float):
        try:
            return [str(read(word))]
        except ValueError:
            continue
    return [word] if re.match("[0-9]", word) else []


def boxed(solution: str) -> str | None:
    r"""What the last ``\boxed{..}`` of a worked solution holds."""
    start = solution.rfind("\\boxed{")
    depth = 0
    for at in range(start + 6, len(solution) if start >= 0 else 0):
        depth += (solution[at] == "{") - (solution[at] == "}")
        if depth == 0:
            return solution[start + 7 : at]
    return None


def normal(text: str) -> str:
    """The benchmark's spelling of an answer. Raises UnreadableError where the published rule fails."""
    for dropped in _REMOVED:
        text = text.replace(dropped, "")
    text = text.replace("\\\\", "\\").replace("tfrac", "frac").replace("dfrac", "frac")
    for dropped in _DROPPED:
        text = text.replace(dropped, "")
    text = _without_unit(text).replace("\\%", "").replace(" .", " 0.").replace("{.", "{0.")
    if not text:
        return text
    text = "0" + text if text[0] == "." else text
    sides = text.split("=")
    text = sides[1] if len(sides) == 2 and len(sides[0]) <= 2 else text
    text = _fractions(_roots(text).replace(" ", ""))
    return _slash("\\frac{1}{2}" if text == "0.5" else text)


def _without_unit(text: str) -> str:
    parts = text.split("\\text{ ")
    if len(parts) > 2:
        raise UnreadableError("two units")
    return parts[0]


def _roots(text: str) -> str:
    first, *rest = text.split("\\sqrt")
    if "" in rest:
        raise UnreadableError("a root of nothing")
    return first + "".join("\\sqrt" + (r if r[0] == "{" else f"{{{r[0]}}}{r[1:]}") for r in rest)


def _fractions(text: str) -> str:
    first, *rest = text.split("\\frac")
    odd = next((r for r in rest if len(r) < 2 and r != "{"), None)
    if odd == "":
        raise UnreadableError("a fraction of nothing")
    if odd:
        return text
    return first + "".join("\\frac" + _arguments(r) for r in rest)


def _arguments(rest: str) -> str:
    if rest[0] == "{":
        return rest
    return f"{{{rest[0]}}}" + (rest[1:] if rest[1] == "{" else f"{{{rest[1]}}}{rest[2:]}")


def _slash(text: str) -> str:
    parts = text.split("/")
    try:
        whole = [int(part) for part in parts]
    except ValueError:
        return text
    plain = len(whole) == 2 and "/".join(map(str, whole)) == text
    return f"\\frac{{{whole[0]}}}{{{whole[1]}}}" if plain else text
