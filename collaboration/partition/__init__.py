"""Distributed edge inference: the blocks of one model on several weak nodes, in a row.

===================  ============================================================================================
where to cut         ``cut`` (bytes and seconds of blocks, nodes and links -> who holds which blocks); pure arithmetic
what a node holds    ``weights`` (a folder of safetensors, read block by block), ``piece`` (some blocks in memory)
the parties          ``stage`` (hidden states in, hidden states or a token out), ``client`` (holds all tokens)
what they send       ``wire``
===================  ============================================================================================

The client holds the history, so whatever a node takes with it can be computed again. Source: AI Flow, section VI-B.
"""
