r"""The value of a small LaTeX expression: exact where it is rational, else complex numbers at a few fixed points.

Knows ``+ - * / ^``, ``\frac``, ``\sqrt``, common functions, ``\pi``, ``i`` and one-letter variables. It never calls
``eval``, and refuses what is long or huge, so answers of models are safe to read.
"""

import cmath
import re
from collections.abc import Callable, Mapping
from fractions import Fraction

Number = Fraction | complex
_LONGEST, _LARGEST_POWER, _MOST_BITS = 400, 512, 4096
_TOKEN = re.compile(r"\d+\.?\d*|\.\d+|\\[a-zA-Z]+|[a-zA-Z]|[-+*/^(){}\[\]|]")
_FUNCTIONS: Mapping[str, Callable[[complex], complex]] = {
    r"\sin": cmath.sin,
    r"\cos": cmath.cos,
    r"\tan": cmath.tan,
    r"\cot": lambda z: 1 / cmath.tan(z),
    r"\sec": lambda z: 1 / cmath.cos(z),
    r"\csc": lambda z: 1 / cmath.sin(z),
    r"\arcsin": cmath.asin,
    r"\arccos": cmath.acos,
    r"\arctan": cmath.atan,
    r"\ln": cmath.log,
    r"\log": cmath.log10,
    r"\exp": cmath.exp,
}
_TIMES = ("*", r"\cdot", r"\times")
_POINTS = (0.6180339887, 1.3247179572, 2.2360679775)


class NotAnExpressionError(ValueError):
    """The text is none that can be computed here."""


def values(text: str) -> tuple[Number, ...]:
    """Its values at the fixed points: one Fraction where it is rational, else a complex number each.

    Raises NotAnExpressionError.
    """
    if not text or len(text) > _LONGEST:
        raise NotAnExpressionError(f"{len(text)} characters")
    tokens = _TOKEN.findall(text)
    if "".join(tokens) != text.replace(" ", ""):
        raise NotAnExpressionError(text)
    try:
        found = tuple(_Reader(tokens, point).all() for point in _POINTS)
    except (ArithmeticError, ValueError, RecursionError) as error:
        raise NotAnExpressionError(text) from error
    return found[:1] if all(isinstance(v, Fraction) for v in found) and len(set(found)) == 1 else found


class _Reader:
    """Reads and computes in one pass, with the variables near ``point``."""

    def __init__(self, tokens: list[str], point: float) -> None:
        self._tokens, self._at, self._point = tokens, 0, point

    def all(self) -> Number:
        value = self._sum()
        if self._at != len(self._tokens):
            raise NotAnExpressionError(f"{self._next()} is left over")
        return value

    def _next(self) -> str:
        return self._tokens[self._at] if self._at < len(self._tokens) else ""

    def _take(self, token: str = "") -> str:
        found = self._next()
        if not found or (token and found != token):
            raise NotAnExpressionError(f"{found or 'the end'} where {token or 'more'} is due")
        self._at += 1
        return found

    def _sum(self) -> Number:
        value: Number = Fraction(0)
        sign = 1
        if self._next() in ("+", "-"):
            sign = -1 if self._take() == "-" else 1
        while True:
            value = _sane(_add(value, _times(Fraction(sign), self._product())))
            if self._next() not in ("+", "-"):
                return value
            sign = -1 if self._take() == "-" else 1

    def _product(self) -> Number:
        value = self._power()
        while True:
            token = self._next()
            if token in _TIMES:
                self._take()
                value = _times(value, self._signed())
            elif token == "/":
                self._take()
                value = _over(value, self._signed())
            elif token and token not in ("+", "-", ")", "}", "]", "|", "^"):
                value = _times(value, self._power())
            else:
                return value
            _sane(value)

    def _signed(self) -> Number:
        if self._next() == "-":
            self._take()
            return _times(Fraction(-1), self._power())
        return self._power()

    def _power(self) -> Number:
        value = self._mixed()
        if self._next() != "^":
            return value
        self._take()
        return _raised(value, self._group() if self._next() == "{" else self._atom())

    def _mixed(self) -> Number:
        r"""``1\frac{4}{5}`` is 1.8: a whole number before a fraction of whole numbers is added."""
        whole = self._next()
        value = self._atom()
        rest = self._tokens[self._at : self._at + 7]
        parts = [rest[n] for n in (2, 5)] if len(rest) == 7 else []
        if whole.isdigit() and rest[:1] == [r"\frac"] and rest[1::3] == ["{", "{"] and all(p.isdigit() for p in parts):
            return _add(value, self._atom())
        return value

    def _atom(self) -> Number:
        token = self._take()
        if token[0].isdigit() or token[0] == ".":
            return Fraction(token if token[0] != "." else "0" + token)
        if token in "({":
            value = self._sum()
            self._take(")" if token == "(" else "}")
            return value
        if token == r"\frac":
            return _over(self._group(), self._group())
        if token == r"\sqrt":
            return self._root()
        if token == r"\pi":
            return complex(cmath.pi)
        if token in _FUNCTIONS:
            return _FUNCTIONS[token](complex(self._power()))
        if token == "i":
            return 1j
        if len(token) == 1 and token.isalpha():
            return complex(self._point + 0.37 * (ord(token) % 32))
        raise NotAnExpressionError(token)

    def _group(self) -> Number:
        self._take("{")
        value = self._sum()
        self._take("}")
        return value

    def _root(self) -> Number:
        degree: Number = Fraction(2)
        if self._next() == "[":
            self._take()
            degree = self._sum()
            self._take("]")
        return _raised(complex(self._group()), _over(Fraction(1), degree))


def _add(a: Number, b: Number) -> Number:
    return a + b if isinstance(a, Fraction) and isinstance(b, Fraction) else complex(a) + complex(b)


def _times(a: Number, b: Number) -> Number:
    return a * b if isinstance(a, Fraction) and isinstance(b, Fraction) else complex(a) * complex(b)


def _over(a: Number, b: Number) -> Number:
    return a / b if isinstance(a, Fraction) and isinstance(b, Fraction) else complex(a) / complex(b)


def _raised(a: Number, power: Number) -> Number:
    if isinstance(a, Fraction) and isinstance(power, Fraction) and power.denominator == 1:
        size = max(a.numerator.bit_length(), a.denominator.bit_length())
        if abs(power) > _LARGEST_POWER or size * abs(power) > _MOST_BITS:
            raise NotAnExpressionError(f"power {power}")
        return Fraction(a ** int(power))
    return complex(a) ** complex(power)


def _sane(value: Number) -> Number:
    if isinstance(value, complex) and not cmath.isfinite(value):
        raise NotAnExpressionError("not finite")
    return value
