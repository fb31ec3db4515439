"""Hierarchical collaborative decoding: small models draft, larger ones judge, and the text is the largest one's.

One idea carries it: every tier does the same (`tier`). It judges the proposals that are there, m >= 0, and says one
token more; what it said are the proposals for the tier above. The device is the tier without proposals, the server
that decodes alone is a tier whose proposals never come, and synchronous, pipelined and streaming sessions differ in
the numbers of a `Plan` only.

``law``      logits -> distribution        ``rules``   proposals -> tokens      ``noise``   random numbers by place
``tier``     one session at one tier       ``wire``    the frames between them  ``sparse``  distributions that travel
``engine``   any model, sessions batched   ``members``, ``blocks``  members of one family, nothing computed twice
``chain``    tiers in one process          ``node``    a model with the tiers of many sessions, on a clock
``pilot``    chooses a session's plan      ``costs``, ``forecast``  what a plan takes, by formula and by playing it

Protocols without I/O: nothing here knows sockets, Ray or the wall clock. Source: AI Flow, section II-B.
"""
