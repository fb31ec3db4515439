"""Published benchmarks. A suite is a dataset, how it is asked, and how answers are scored; a folder each.

In every folder: ``data`` reads the files, ``score`` is the published formula (pure), ``suite`` makes samples and their
grader, ``__init__`` is the command.
"""
