"""Distributed edge inference between agents: the blocks of one model on several weak nodes, cut anew when one leaves.

::

    watch, phone = (cluster.agent(n, node=n, model="blocks:aiflow:nano/base") for n in ("watch", "phone"))
    both = partitioned([watch, phone])
    answer = await both.ask("What is 17 + 25?")         # answer.stages, answer.bytes, answer.recoveries

``drive``   several agents as one that can be asked      ``pool``  who is there, how the model is cut, what is loaded
``run``     one answer: messages from stage to stage     ``part``  an agent's side: blocks, caches
``wire``    messages that ask, load and leave            ``words`` text and tokens, at the asker
``timing``, ``pace``  how fast a node is                 ``choosing``  how the last stage chooses   ``events``

The parties are in `aiflow.collaboration.partition`. Source: AI Flow, section VI-B.
"""

from aiflow.agents.partition.drive import Partitioned as Partitioned
from aiflow.agents.partition.drive import partitioned as partitioned

__all__ = ["Partitioned", "partitioned"]
