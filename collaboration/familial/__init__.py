"""Familial models: one trained family, almost any size, aligned features (AI Flow, section III)."""
