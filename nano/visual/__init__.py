"""Procedural pictures with questions: training stream and held-out suites for tiny vision-language models. No torch."""
