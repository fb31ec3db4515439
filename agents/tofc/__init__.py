"""Feature compression between agents: a device sends few features of an image, a server answers the question on it.

``drive``    the asker's side: chooses a setting and carries messages between the two over the network
``channel``  what it knows of a device and its server: their cards, what the link gives, how long they compute
``part``     an agent's side, as device or as server   ``sides``  the model there, with the codec folded in
``wire``     messages   ``events``  what the asker gets   ``picture``  forms of images   ``tool``  for planners

The parties are `aiflow.collaboration.tofc.encoder` and ``decoder``. Source: AI Flow, section II-B1.
"""
