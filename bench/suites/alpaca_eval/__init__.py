"""AlpacaEval 2.0: 805 instructions; a judge compares each output with GPT-4 Turbo's by the probability of its verdict.

``recorded`` scores recorded judgments, ``suite`` asks live. For collaborations of recorded models: ``outputs`` are
what they said, ``load`` how each was judged, ``control``, ``win_rate`` and ``length_controlled`` score any choice.
"""

from aiflow.bench.suites.alpaca_eval.annotations import Annotated, load
from aiflow.bench.suites.alpaca_eval.data import control, outputs
from aiflow.bench.suites.alpaca_eval.length_control import length_controlled
from aiflow.bench.suites.alpaca_eval.recorded import recorded
from aiflow.bench.suites.alpaca_eval.score import win_rate
from aiflow.bench.suites.alpaca_eval.suite import answers, suite

__all__ = ["Annotated", "answers", "control", "length_controlled", "load", "outputs", "recorded", "suite", "win_rate"]
