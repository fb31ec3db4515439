"""Split inference between agents: a device answers at once from its branch, a server returns the full model's answer.

``drive``   the asker's side: one call   ``how``  its arguments   ``run``  carries messages over the network
``part``    an agent's side, as device or as server   ``device``  one answer there   ``model``  what it needs of a model
``wire``    messages that open and step   ``gauge``  what a link gives   ``events``  what the asker sees
``tool``    for planners

The parties are `aiflow.collaboration.familial.front` and ``back``. Source: AI Flow, section III-C.
"""
