"""The diffusion systems measured: tables VII to IX in form (``motion``, ``depth``, ``video``), and as nodes.

``nodes``   per-node latency and bytes of the collaborations over links, and what spreading them costs or saves
``faults``  nodes that die, hang or garble at any step (``unreliable``): what comes of the run
"""
