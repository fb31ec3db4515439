"""Charts as inline SVG: whiskers, lines, scatter, bars. Sizes in SVG units; colours come from the page's CSS classes.

Everything that is text goes through ``Markup.format``, which escapes it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from aiflow.bench.stats import Estimate

WIDTH, HEIGHT, LEFT, BOTTOM, TOP, RIGHT = 560, 300, 52, 40, 16, 20
LABELS = 12  # more names than that would hide the points: then only those on the Pareto line are written
_LINE = Markup('<line class="{}" x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}"/>')
_DOT = Markup('<circle class="{}" cx="{:.1f}" cy="{:.1f}" r="{}"><title>{}</title></circle>')
_TEXT = Markup('<text class="{}" x="{:.1f}" y="{:.1f}">{}</text>')
_SVG = Markup('<svg viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>')


@dataclass(frozen=True)
class Scale:
    """Maps a value between ``low`` and ``high`` to a place between ``start`` and ``end``."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low) if self.high > self.low else 0.5
        return self.start + min(max(share, 0.0), 1.0) * (self.end - self.start)

    def ticks(self, count: int = 5) -> list[float]:
        """Round values inside the scale."""
        raw = (self.high - self.low) / max(count, 1) or 1.0
        power = 10.0 ** math.floor(math.log10(raw))
        step = next(s * power for s in (1, 2, 2.5, 5, 10) if s * power >= raw * 0.999)
        first = -(-self.low // step) * step
        return [first + i * step for i in range(int((self.high - first) / step + 1.001))]


@dataclass(frozen=True, kw_only=True)
class Point:
    """A mark of a scatter: its label, place and CSS class; ``written``: whether the label may stand beside it."""

    label: str
    x: float
    y: float
    kind: str = "alone"
    written: bool = True


def whisker(estimate: Estimate, best: float, kind: str, low: float = 0.0) -> Markup:
    """An estimate with its interval on a line of 0..``best``, for a table cell."""
    if math.isnan(estimate.value):
        return Markup("")
    scale = Scale(low, best, 4, 156)
    zero = _LINE.format("axis", scale(0), 2, scale(0), 16) if low < 0 else Markup("")
    bar = _LINE.format(f"whisker {kind}", scale(estimate.lo), 9, scale(estimate.hi), 9)
    dot = _DOT.format(f"dot {kind}", scale(estimate.value), 9, 4, f"{estimate.value:.2f}")
    rail = _LINE.format("rail", 4, 9, 156, 9)
    return _SVG.format(160, 18, f"{estimate.value:.2f}", rail + zero + bar + dot)


def lines(series: Sequence[tuple[str, Sequence[Estimate]]], best: float, unit: str, title: str) -> Markup:
    """Estimates over 1, 2, ... with their intervals, a line per (label, estimates)."""
    count = max(len(row) for _, row in series)
    x, y = Scale(0.7, count + 0.3, LEFT, WIDTH - RIGHT), Scale(0, best, HEIGHT - BOTTOM, TOP)
    parts = [_grid(x, y, [float(n) for n in range(1, count + 1)], "agents", unit)]
    for number, (label, row) in enumerate(series):
        known = [(n, e) for n, e in enumerate(row, 1) if not math.isnan(e.value)]
        path = " ".join(f"{x(n):.1f},{y(e.value):.1f}" for n, e in known)
        kind = "merged" if number == 0 else "after"
        parts.append(Markup('<polyline class="path {}" points="{}"/>').format(kind, path))
        for n, e in known:
            parts.append(_LINE.format(f"whisker {kind}", x(n), y(e.lo), x(n), y(e.hi)))
            parts.append(_DOT.format(f"dot {kind}", x(n), y(e.value), 4.5, f"{label}: {e.value:.1f}"))
        parts.append(_TEXT.format(f"label {kind}", LEFT + 12, TOP + 14 + 18 * number, label))
    return _SVG.format(WIDTH, HEIGHT, title, Markup("").join(parts))


def scatter(points: Sequence[Point], best: float, axis: str, unit: str, title: str) -> Markup:
    """Quality (up) against a cost (right), with the Pareto line: the best quality that any such cost has bought."""
    widest = max((p.x for p in points), default=1.0) * 1.18 or 1.0
    x, y = Scale(0, widest, LEFT, WIDTH - RIGHT), Scale(0, best, HEIGHT - BOTTOM, TOP)
    parts = [_grid(x, y, x.ticks(), axis, unit)]
    front = pareto(points)
    if len(points) > 1:
        ends = [x(point.x) for point in front[1:]] + [x(max(point.x for point in points))]
        steps = [(place, y(a.y)) for a, end in zip(front, ends, strict=True) for place in (x(a.x), end)]
        path = " ".join(f"{px:.1f},{py:.1f}" for px, py in steps)
        parts.append(Markup('<polyline class="pareto" points="{}"><title>Pareto line</title></polyline>').format(path))
    crowd = sum(point.written for point in points) > LABELS
    taken: list[tuple[float, float]] = []
    for point in sorted(points, key=lambda p: -p.y):
        px, py = x(point.x), y(point.y)
        shown = f"{point.label}: {point.y:.1f} at {point.x:.3g}"
        parts.append(_DOT.format(f"dot {point.kind}", px, py, 6, shown))
        if point.written and (not crowd or point in front or point.kind == "merged"):
            late = px > WIDTH * 0.7
            place = _free(px - 10 if late else px + 10, py - 7, taken)
            kind = f"label {point.kind}{' end' if late else ''}"
            parts.append(_TEXT.format(kind, px - 10 if late else px + 10, place, point.label))
    return _SVG.format(WIDTH, HEIGHT, title, Markup("").join(parts))


def pareto(points: Sequence[Point]) -> list[Point]:
    """The points that none beats: each better than all that cost as much or less, cheapest first."""
    front: list[Point] = []
    for point in sorted(points, key=lambda p: (p.x, -p.y)):
        if not front or point.y > front[-1].y:
            front.append(point)
    return front


def bars(rows: Sequence[tuple[str, float, str, str]], title: str, name_width: int = 150) -> Markup:
    """Horizontal bars of (name, value, shown value, CSS class)."""
    high = max((value for _, value, _, _ in rows), default=1.0) or 1.0
    x = Scale(0, high, name_width, WIDTH - 90)
    parts = []
    for number, (name, value, shown, kind) in enumerate(rows):
        top = 6 + 24 * number
        parts.append(_TEXT.format("name", name_width - 10, top + 13, name))
        box = '<rect class="bar {}" x="{}" y="{}" width="{:.1f}" height="17" rx="3"/>'
        parts.append(Markup(box).format(kind, name_width, top, max(x(value) - name_width, 1)))
        parts.append(_TEXT.format("value", x(value) + 8, top + 13, shown))
    return _SVG.format(WIDTH, 24 * len(rows) + 10, title, Markup("").join(parts))


def _grid(x: Scale, y: Scale, x_ticks: Sequence[float], axis: str, unit: str) -> Markup:
    parts = []
    for value in y.ticks():
        parts.append(_LINE.format("grid", LEFT, y(value), WIDTH - RIGHT, y(value)))
        parts.append(_TEXT.format("tick end", LEFT - 8, y(value) + 4, f"{value:g}"))
    for value in x_ticks:
        parts.append(_TEXT.format("tick mid", x(value), HEIGHT - BOTTOM + 18, f"{value:g}"))
    parts.append(_TEXT.format("tick mid", (LEFT + WIDTH - RIGHT) / 2, HEIGHT - 6, axis))
    parts.append(_TEXT.format("tick", 6, 11, unit))
    return Markup("").join(parts)


def _free(x: float, y: float, taken: list[tuple[float, float]]) -> float:
    """Moves a label down until it hides no earlier one."""
    while any(abs(x - tx) < 120 and abs(y - ty) < 13 for tx, ty in taken):
        y += 13
    taken.append((x, y))
    return y
