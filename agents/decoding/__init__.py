"""Collaborative decoding between agents: a device drafts, edge and cloud judge, and the text is the top judge's.

``drive``   the asker's side: opens a session at every agent and carries frames between them over the network
``run``     one session under way: legs, relays, what happens when a judge's process dies
``party``   an agent's side: one node for all sessions of its process   ``sitting``  one session there
``wire``    messages that open, steer and report       ``events``  what the asker sees       ``tool``  for planners

Tiers, nodes and frames are `aiflow.collaboration.decoding`. Source: AI Flow, section II-B.
"""
