"""What `aiflow demo motion | depth | video` shows: a graph on the nodes of a topology, a picture, and who did what.

One file for each system; ``stage`` is what they share.
"""
