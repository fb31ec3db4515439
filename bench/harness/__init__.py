"""lm-evaluation-harness on aiflow's agents and graphs: MMLU, CMMLU, C-Eval, BBH and whatever else it has tasks for.

``run`` evaluates a model string, an agent, a graph or any subject of a benchmark; ``model`` is the adapter alone, for
those who call ``lm_eval`` themselves. The library is an extra: ``pip install "aiflow[lm-eval]"``.

``requests``  its requests -> messages and options      ``adapter``  what answers them
``scoring``   log-likelihoods of a local model          ``subjects`` who is asked
"""

from aiflow.bench.harness.command import main
from aiflow.bench.harness.evaluate import model, run

__all__ = ["main", "model", "run"]
