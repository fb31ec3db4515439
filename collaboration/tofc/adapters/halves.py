"""A vision language model without what one party does not need; parameters are shared with the whole one."""

from typing import Any

from aiflow.collaboration.familial.kinds import shallow

_TEXT, _TOWER, _QWEN_TOWER = "language_model", "vision_tower", "visual"


def device_half(model: Any) -> Any:
    """A view without language model and LM head, for an `Encoder`."""
    new, inner = shallow(model), shallow(model.model)
    inner._modules[_TEXT] = new._modules["lm_head"] = None
    new._modules["model"] = inner
    return new


def server_half(model: Any) -> Any:
    """A view without vision tower, for a `Decoder`; the projector stays."""
    new, inner = shallow(model), shallow(model.model)
    if _TOWER in inner._modules:
        inner._modules[_TOWER] = None
    else:
        tower = shallow(inner._modules[_QWEN_TOWER])
        tower._modules = {name: part if name == "merger" else None for name, part in tower._modules.items()}
        inner._modules[_QWEN_TOWER] = tower
    new._modules["model"] = inner
    return new
