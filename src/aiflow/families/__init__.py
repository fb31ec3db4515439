"""What ``aiflow familial ...`` does. Tables go to stdout, progress to stderr. Knows no flags.

``making``   decompose, branch, train, convert     ``showing``  members, evaluate
``inputs``   folders, texts, lists of numbers      ``members``  sizes as stored, and the one within a budget
``quality``  bits per token of every member        ``tables``   text that lines up
"""

from aiflow.families.making import branch, convert, decompose, train
from aiflow.families.showing import evaluate, members

__all__ = ["branch", "convert", "decompose", "evaluate", "members", "train"]
