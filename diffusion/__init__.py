"""Diffusion models that work together (AI Flow: Perspectives, Scenarios, and Approaches, section IV-B).

``motion/``    serial: one model composes the motion of two people, another coordinates them
``depth/``     parallel: a near and a far decoder share one encoder and run at the same time
``video/``     networked: one model of several modalities, each with a node of its own, any of them given or made
``weights/``   the small models that ship, and where they come from

What they share: ``blocks`` (transformer), ``words`` (text), ``distances`` (statistics of features), ``messages`` (what
parties send), ``files`` (loading, fingerprints), ``training`` (stages that can be resumed).

Every system has the same files: ``data model pipeline train metrics party picture``. No Ray, no clocks, no graphs here.
"""
