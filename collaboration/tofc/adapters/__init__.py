"""Where the features of a vision language model are, between its vision encoder and its projector; a file per kind.

============  ==========================================================================================
any kind      ``base`` (`Adapter`, what one offers), ``layout`` (`Layout`: which feature stands where)
the kinds     ``llava``, ``llava_onevision``, ``qwen_vl``
half a model  ``halves`` (what the device has, what the server has)
============  ==========================================================================================
"""

from collections.abc import Callable
from typing import Any

from aiflow.collaboration.tofc.adapters.base import Adapter, Inputs
from aiflow.collaboration.tofc.adapters.layout import Layout
from aiflow.collaboration.tofc.adapters.llava import Llava
from aiflow.collaboration.tofc.adapters.llava_onevision import LlavaOnevision
from aiflow.collaboration.tofc.adapters.qwen_vl import QwenVL
from aiflow.errors import InputError, UnsupportedModelError

__all__ = ["SUPPORTED", "Adapter", "Inputs", "Layout", "adapter"]

SUPPORTED: dict[str, Callable[[Any], Adapter]] = {
    "llava": Llava,
    "llava_onevision": LlavaOnevision,
    "qwen2_vl": QwenVL,
    "qwen2_5_vl": QwenVL,
}
"""The adapter by transformers' name of the model's kind."""


def adapter(model: Any, channels: int | None = None) -> Adapter:
    """The adapter of a model of transformers, whole or half.

    Args:
        model: a ``...ForConditionalGeneration``.
        channels: of the codec that it is to work with.

    Raises:
        UnsupportedModelError: for a kind without an adapter.
        InputError: for a codec of another width.
    """
    kind = model.config.model_type
    if kind.startswith("qwen3_vl"):
        raise UnsupportedModelError(
            f"a {kind!r} model reads features of several layers of its tower at each place (DeepStack), and a codec "
            "carries those of one; use a Qwen2-VL or Qwen2.5-VL model."
        )
    if kind not in SUPPORTED:
        raise UnsupportedModelError(
            f"a {kind!r} model has no adapter for feature compression; use one of {', '.join(SUPPORTED)}."
        )
    found = SUPPORTED[kind](model)
    if channels not in (None, found.channels):
        raise InputError(f"a codec for {channels} channels does not fit features of {found.channels}.")
    return found
