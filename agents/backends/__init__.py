"""Where an agent's tokens come from: a model string says which back end, options say how.

``aiflow:nano/math``, ``./family#2:0.75`` (a member of a family), ``Qwen/Qwen2.5-0.5B-Instruct``, ``./folder`` ->
``transformers``; ``blocks:aiflow:nano/base`` (those of its blocks that it is told to hold) -> ``blocks``;
``aiflow:motion#ins``, ``./pipeline#ins`` (a part of a diffusion pipeline) -> ``diffusion``;
``https://host/v1#model`` -> ``openai``; ``replay:answers.jsonl#model`` -> ``replay``; ``scripted:echo`` ->
``scripted``. Nothing heavy is imported before it is used.
"""

import os
import re
from collections.abc import Mapping
from importlib import import_module
from inspect import signature
from pathlib import Path
from typing import Any

from aiflow.agents.diffusion import parties
from aiflow.agents.interface import Backend
from aiflow.agents.options import known
from aiflow.clock import Clock
from aiflow.errors import InputError, UnknownModelError

FORMS = (
    "a path, a Hugging Face id, aiflow:nano/<name> (of a family also <path>#<member>), aiflow:motion#<part> (depth, "
    "video), blocks:<path or aiflow:nano/...>, https://host/v1#<model>, replay:<file>#<model> or scripted:"
)
TRANSFORMERS = ("device", "dtype", "max_batch", "threads", "max_context", "seed")
"""The options of ``TransformersBackend``, known without importing torch."""

_CLASS = {
    "transformers": "TransformersBackend",
    "diffusion": "DiffusionBackend",
    "openai": "OpenAIBackend",
    "replay": "ReplayBackend",
    "blocks": "BlocksBackend",
}
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")


def kind(model: Any) -> str:
    """Which of the back ends a model string names. Raises UnknownModelError if it is of no known form."""
    if not isinstance(model, str) or not model.strip():
        raise UnknownModelError(f"model {model!r} names no model; give {FORMS}.")
    scheme, colon, rest = model.partition(":")
    if colon and scheme in ("http", "https"):
        return "openai"
    if colon and scheme in ("replay", "scripted", "blocks"):
        return scheme
    if colon and scheme == "aiflow" and re.fullmatch(r"nano/[\w.-]+(#[\w.:-]+)?", rest):
        return "transformers"
    if parties.is_party(model):
        return "diffusion"
    if _is_path(model.partition("#")[0]) or _HUB_ID.fullmatch(model):
        return "transformers"
    raise UnknownModelError(f"model {model!r} is of no known form; give {FORMS}.")


def create(model: str, *, clock: Clock | None = None, **options: Any) -> Backend:
    """Makes the back end and loads its model; ``clock`` is for those that only pretend to take time.

    Raises UnknownModelError, CredentialError, DataError, and InputError for an unknown or unusable option.
    """
    which = kind(model)
    known(options, _names(which), f"the {which} back end")
    if which == "scripted":
        options["clock"] = clock
    try:
        backend: Backend = _class(which)(model, **options)
    except TypeError as error:
        raise InputError(f"the options of model {model!r} cannot be used: {error}.") from error
    return backend


def check(model: str, options: Mapping[str, Any], *, here: bool = True) -> None:
    """Raises what ``create`` would, as far as that is cheap to know; ``here``: the model is to run on this machine."""
    which = kind(model)
    known(options, _names(which), f"the {which} back end")
    if not here:
        return
    if which == "blocks":
        _check_weights(model.removeprefix("blocks:"))
    elif which == "diffusion":
        parties.check(model)
    elif which != "transformers":
        create(model, **options)  # reads its data and its key, connects to nobody
    else:
        _check_weights(model)


def _names(which: str) -> tuple[str, ...]:
    if which == "transformers":
        return TRANSFORMERS
    return tuple(name for name in signature(_class(which)).parameters if name not in ("model", "clock"))


def _class(which: str) -> Any:
    return getattr(import_module(f"aiflow.agents.backends.{which}"), _CLASS.get(which, "ScriptedBackend"))


def _is_path(model: str) -> bool:
    return model.startswith((".", "/", "~")) or Path(model).is_dir()


def _check_weights(model: str) -> None:
    if not Path(model).expanduser().is_dir():
        model = model.partition("#")[0]
    if model.startswith("aiflow:"):
        from aiflow import nano

        nano.resolve(model.removeprefix("aiflow:"))
    elif _is_path(model):
        if not Path(model).expanduser().is_dir():
            raise UnknownModelError(f"model {model!r}: there is no such folder; give {FORMS}.")
    elif os.environ.get("HF_HUB_OFFLINE", "0") not in ("", "0"):
        from huggingface_hub import try_to_load_from_cache

        if not isinstance(try_to_load_from_cache(model, "config.json"), str):
            raise UnknownModelError(f"model {model!r} is neither a folder nor in the Hugging Face cache; give {FORMS}.")
