"""Benchmarks and what they are made of.

A run: ``suite`` (samples, subjects, graders), ``runner``, ``log``, ``requests`` and ``cache`` (nothing asked twice),
``stats``, ``results`` with its views ``table``, ``views`` and ``report``. What is run: ``suites`` (published ones),
``nano`` (the embedded one), ``live`` (asked of real agents), ``collaborations`` (of recorded ones), ``judges``,
``harness`` (lm-evaluation-harness), ``exports``. Measurements of techniques: ``familial``, ``decoding``, ``split``,
``tofc``; of the system: ``system``.
"""
