"""Familial models: one trained family, almost any size, aligned features (AI Flow, section III).

========================  =========================================================================================
a family                  ``family`` (`Family`, `Member`), ``branch``, ``linear``, ``kinds``, ``files`` (on disk)
using it                  ``session`` (any exit at any token), ``generate`` (exits by confidence), ``running``,
                          ``split``, ``verdict`` (messages between its parts), ``front`` and ``back`` (device and
                          server of split inference), ``ring``, ``drive``
decomposing weights       ``factor`` (whitened SVD), ``ranks`` (one budget), ``decompose`` (layer by layer),
                          ``checkpoint*`` (models on disk), ``nested`` (members in one file), ``store`` (the file)
training it               ``branching`` (branches from the next block), ``training`` (EESB), ``hpcd``,
                          ``expand`` (zero-residual blocks)
choosing a member         ``counts``, ``solver``, ``capacity``
the authors' families     ``ruyi``
========================  =========================================================================================
"""

from importlib import import_module
from typing import Any

_HOME = {
    "Branch": "branch",
    "Family": "family",
    "Member": "family",
    "Session": "session",
    "convert": "ruyi",
    "initialise": "branching",
    "solve": "solver",
}


def __getattr__(name: str) -> Any:
    """The public names, imported when they are used: most of them need torch."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
