"""Procedural data of the nano family: every text the small models are trained on is made here, from a seed."""
