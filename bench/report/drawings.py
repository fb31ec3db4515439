"""Which charts a run's results allow, and the table of scores by category."""

import math

from markupsafe import Markup

from aiflow.bench.report import charts
from aiflow.bench.report.material import Material
from aiflow.bench.results import Results, Row
from aiflow.units import show_bytes

KINDS = {
    "alone": "alone",
    "after collaboration": "after",
    "collaborations": "after",
    "aggregate": "merged",
    "baselines": "base",
}
CROWD = 8  # so many agents alone are told apart by their labels


def kind(row: Row) -> str:
    """The CSS class of a row's marks."""
    if row.key == "merged":
        return "merged"
    return KINDS.get(row.group, "base" if row.bytes is None else "after")


def draw(results: Results) -> dict[str, Markup]:
    """The charts that these results allow, by title."""
    best, unit, drawn = results.best, results.unit, {}
    if results.curve:
        series = [("agents added in order", [s.score for s in results.curve])]
        series.append(("mean of circular orders", [s.mean for s in results.curve]))
        drawn["More agents (Table V)"] = charts.lines(series, best, unit, "score by number of agents")
    if results.ablation:
        parts = [a for a in results.ablation if not math.isnan(a.score.value)]
        rows = [(a.name, a.score.value, f"{a.score.value:.1f}", _ablated(a.name)) for a in parts]
        drawn["Without one, with only one (Table VI)"] = charts.bars(rows, "ablation")
    return drawn | _against_costs(results)


def _against_costs(results: Results) -> dict[str, Markup]:
    best, unit, drawn = results.best, results.unit, {}
    known = [row for row in results.rows if any(cost is not None for cost in (row.bytes, row.latency, row.tokens))]
    costed = [row for row in known if not (row.name.startswith("best single") or math.isnan(row.score.value))]
    crowd = sum(row.group == "alone" for row in costed) > CROWD

    def point(row: Row, x: float) -> charts.Point:
        written = not (crowd and row.group == "alone")
        return charts.Point(label=row.name, x=x, y=row.score.value, kind=kind(row), written=written)

    if any(row.latency for row in costed):
        points = [point(row, row.latency) for row in costed if row.latency is not None]
        drawn["Quality and waiting"] = charts.scatter(points, best, "median seconds per turn", unit, "quality, latency")
    if any(row.bytes for row in costed):
        points = [point(row, row.bytes / 1000) for row in costed if row.bytes is not None]
        drawn["Quality and bytes"] = charts.scatter(points, best, "KB per question over links", unit, "quality, bytes")
    if any(row.tokens for row in costed):
        points = [point(row, row.tokens) for row in costed if row.tokens is not None]
        drawn["Quality and tokens"] = charts.scatter(points, best, "tokens per question", unit, "quality, tokens")
    lead = next((row for row in costed if row.key == "merged" and row.links), None)
    if lead:
        links = sorted(lead.links.items(), key=lambda item: -item[1])
        shown = [(link, count, show_bytes(count), "merged") for link, count in links]
        drawn[f"Bytes per question on each link ({lead.name})"] = charts.bars(shown, "bytes by link")
    return drawn


def _ablated(name: str) -> str:
    return "merged" if name == "all" else "after" if name.startswith("w/o") else "alone"


def heat(material: Material) -> list[tuple[str, list[float | None]]]:
    """The mean score of each subject by category."""
    lines: list[tuple[str, list[float | None]]] = []
    for subject, records in material.records.items():
        by: dict[str, list[float]] = {category: [] for category in material.categories}
        for sample in material.samples:
            if (record := records.get(sample.id)) and (score := record.score) is not None:
                by[sample.category].append(score)
        lines.append((subject, [sum(found) / len(found) if found else None for found in by.values()]))
    return lines
