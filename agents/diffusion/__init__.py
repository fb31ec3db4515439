"""Diffusion models that work together from different nodes (AI Flow, section IV-B): the agents' side and the asker's.

``parties``   which parties there are, and how a model string becomes one      ``pace``  how long an emulated node takes
``part``      an agent's side: one party, its results in a ``store``            ``wire``  messages around the parties'
``line``      the asker's side: moves messages between agents, with deadlines and replicas; ``ledger`` counts
``crew``      the agents of one graph, and a line for each of its runs
``plans``     how a video is sampled over nodes: ``home`` and ``cfg``; ``owner`` has a file of its own

The parties are `aiflow.diffusion.motion.party` and its siblings; the graphs that ask them `aiflow.graphs`.
"""
