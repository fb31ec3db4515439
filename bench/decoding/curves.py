"""Curves over links and draft lengths, in simulated time: the real tiers and frames, coins for models (`simulate`).

The nodes are those of the paper's case study, a device of 2 B and a server of 26 B parameters: the ratio of their times
is fitted to its Fig. 6, and the server's time itself is only a unit. The acceptance is measured on the nano family.
"""

from collections.abc import Sequence
from typing import Any

from aiflow.bench.decoding.simulate import Outcome, Path, Stage, simulate
from aiflow.collaboration.decoding import costs, forecast
from aiflow.collaboration.decoding.forecast import Choice
from aiflow.collaboration.decoding.tier import Plan
from aiflow.collaboration.decoding.wire import HEADER_BYTES, ID_BYTES, VERDICT_BYTES

SERVER, DEVICE = 40e-3, 0.1375 * 40e-3
"""Seconds of a round of the server, and of a token on the device."""
RATES = (0.5e6, 1e6, 2e6)
LENGTHS = (*range(1, 13), 14, 16, 18, 20, 22, 24)
GRID_RATES, GRID_RTTS, REGIMES = (0.25e6, 1e6, 8e6), (0.0, 0.02, 0.05, 0.1), (0.4, 0.76, 0.92)
FIXED = tuple(
    Choice(block=block, ahead=ahead, eager=eager)
    for block, ahead, eager in (
        *((g, g, False) for g in (1, 2, 4, 8, 16)),
        *((1, k, e) for k in (4, 8, 16, 32) for e in (False, True)),
        (4, 16, True),
        (1, 0, True),
    )
)
"""Plans that a session could have for good: synchronous, streamed, and the server alone."""


def lengths(alpha: float, tokens: int) -> dict[str, Any]:
    """Fig. 6's form: seconds per token against the draft length at three rates, by formula and by simulation."""
    rows = []
    for rate in RATES:
        for gamma in LENGTHS:
            found = play(alpha, Choice(block=gamma, ahead=gamma, eager=False), rate, 0.0, tokens)
            formula = costs.synchronous(alpha, gamma, profile(gamma, rate, 0.0))
            rows.append(
                {
                    "rate": rate,
                    "length": gamma,
                    "seconds": found.seconds,
                    "formula": formula,
                    "difference": found.seconds / formula - 1,
                    "speedup": SERVER / found.seconds,
                }
            )
    return {"alpha": alpha, "rows": rows, "optima": [_optimum(rows, rate) for rate in RATES]}


def _optimum(rows: Sequence[dict[str, Any]], rate: float) -> dict[str, Any]:
    own = [row for row in rows if row["rate"] == rate]
    best = max(own, key=lambda row: float(row["speedup"]))
    worse = [row["length"] for row in own if row["length"] > best["length"] and row["speedup"] < 1]
    return {
        "rate": rate,
        "length": best["length"],
        "speedup": best["speedup"],
        "slower_from": min(worse, default=None),
        "worst_difference": max(abs(row["difference"]) for row in own),
    }


def pipeline(tokens: int) -> dict[str, Any]:
    """Streamed drafts against the best synchronous length, by simulation and by what `forecast` and `costs` say."""
    rows = []
    for rtt in (0.0, 0.25 * SERVER, 0.5 * SERVER, SERVER):
        for alpha in (0.6, 0.76, 0.9):
            best = costs.best_length(alpha, profile(4, 1e6, rtt), most=24) or 1
            plan = Choice(block=1, ahead=16, eager=True)
            sync = play(alpha, Choice(block=best, ahead=best, eager=False), 1e6, rtt, tokens).seconds
            streamed = play(alpha, plan, 1e6, rtt, tokens).seconds
            said = costs.synchronous(alpha, best, profile(best, 1e6, rtt)) / forecast.seconds(
                alpha, profile(1, 1e6, rtt), plan, tokens
            )
            rows.append(
                {
                    "rtt": rtt,
                    "alpha": alpha,
                    "length": best,
                    "gain": sync / streamed,
                    "formula": said,
                    "difference": sync / streamed / said - 1,
                    "pearl": SERVER / _pearl(alpha, rtt),
                    "speedup": SERVER / streamed,
                }
            )
    return {"rows": rows, "worst_difference": max(abs(row["difference"]) for row in rows)}


def _pearl(alpha: float, rtt: float) -> float:
    own = profile(4, 1e6, rtt)
    return min(costs.pearl(alpha, gamma, own) for gamma in range(2, 25))


def adaptive(tokens: int) -> dict[str, Any]:
    """The pilot's plan against every fixed one, over rates, round trips and acceptances."""
    rows: list[dict[str, Any]] = []
    for rate in GRID_RATES:
        for rtt in GRID_RTTS:
            for alpha in REGIMES:
                times = {choice: play(alpha, choice, rate, rtt, tokens).seconds for choice in FIXED}
                own = play(alpha, None, rate, rtt, tokens).seconds
                best = min(times, key=lambda c: times[c])
                rows.append(
                    {
                        "rate": rate,
                        "rtt": rtt,
                        "alpha": alpha,
                        "best": f"{best.block}/{best.ahead}{' eager' if best.eager else ''}",
                        "speedup_best": SERVER / times[best],
                        "speedup": SERVER / own,
                        "of_best": times[best] / own,
                        "of_server": SERVER / own,
                    }
                )
    return {
        "rows": rows,
        "least_of_best": min(r["of_best"] for r in rows),
        "least_of_server": min(r["of_server"] for r in rows),
    }


def break_even(tokens: int) -> dict[str, Any]:
    """Speed-up of the pilot's session over (round trip, acceptance): where it is 1, drafting does not pay."""
    rows = [
        {"rtt": rtt, "alpha": alpha, "speedup": SERVER / play(alpha, None, 1e6, rtt, tokens).seconds}
        for rtt in (0.0, 0.02, 0.04, 0.08, 0.16)
        for alpha in (0.2, 0.4, 0.6, 0.8, 0.95)
    ]
    return {"rows": rows}


def play(alpha: float, choice: Choice | None, rate: float, rtt: float, tokens: int) -> Outcome:
    """One session with a fixed plan, or with a pilot."""
    plan = Plan(block=choice.block, ahead=choice.ahead, above=choice.eager) if choice else Plan(block=1, ahead=8)
    device = Stage(seconds=DEVICE, alpha=alpha, plan=plan)
    server = Stage(seconds=SERVER, plan=Plan(eager=choice.eager if choice else False))
    return simulate([device, server], [Path(rate=rate, rtt=rtt)], tokens, piloted=choice is None)


def profile(gamma: int, rate: float, rtt: float) -> costs.Profile:
    """Of the two nodes and a link, for drafts of ``gamma`` tokens."""
    up = costs.one_way(rtt, HEADER_BYTES + ID_BYTES * gamma, rate)
    down = costs.one_way(rtt, VERDICT_BYTES, rate)
    return costs.Profile(draft=DEVICE, verify=SERVER, up=up, down=down)
