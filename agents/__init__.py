"""Who runs: a model behind an actor on a tier; its back ends; the tools it offers."""
