"""Collaborations of recorded agents, beside the bounds of what any collaboration of them could reach.

``measure`` finds them on one half of a suite's questions and reports them on the other, for every suite and pool;
``tables`` puts them in the form of the paper's Tables III to VI; ``mt_bench`` runs the device-server graph itself.
"""

from aiflow.bench.collaborations.measure import main
from aiflow.bench.collaborations.tables import main as main_table

__all__ = ["main", "main_table"]
