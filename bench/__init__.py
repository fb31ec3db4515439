"""Suites, scorers, baselines, reports, and the benchmark commands: ``nano``, ``mt_bench``, and the system's own."""
