"""``aiflow top``: nodes, links and agents as they are now, of a gateway, a Ray cluster or a shaped one.

``frame`` is what is shown; ``gateway``, ``ray`` and ``shaped`` give it, ``show`` draws it, ``loop`` repeats.
"""
