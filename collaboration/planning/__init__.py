"""Which way to answer a task: every mode's seconds, bytes, memory and quality side by side, and the choice.

===================  ============================================================================================
what is known        ``task`` (what is asked), ``state`` (parties, links), ``prior`` (quality from capacity)
what a mode costs    ``alone`` (on the device, on a server), ``drafting`` (two and three tiers), ``splitting``,
                     ``features`` (TOFC), ``team`` (the four steps); each takes the costs of its mode's own model
the choice           ``option`` (a way with its figures), ``choose`` (all of them, and one), ``placement``
===================  ============================================================================================

Pure arithmetic: speeds and links come in as numbers, whoever measured them. Source: AI Flow, sections II-A and IV-A.
"""
