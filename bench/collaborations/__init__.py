"""Collaborations of recorded agents, beside the bounds of what any collaboration of them could reach."""
