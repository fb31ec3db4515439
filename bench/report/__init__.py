"""A run as one self-contained HTML page (``view``), and two runs side by side (``compare``). No network, no CDN.

Tables and charts are in the page; questions, answers and judgments are compressed data in it, which the page's script
shows when they are asked for. So a run of 14,000 questions opens at once.
"""

from aiflow.bench.report.compare import compare_runs
from aiflow.bench.report.comparison import main_compare, show_comparison
from aiflow.bench.report.page import main_view, render, view

__all__ = ["compare_runs", "main_compare", "main_view", "render", "show_comparison", "view"]
