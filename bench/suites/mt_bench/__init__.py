"""MT-Bench: 80 questions of two turns, rated by a judge."""
