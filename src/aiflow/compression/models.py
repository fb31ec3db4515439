"""Loads vision language models: weights, tokenizer, image processor, chat template. Knows no codec.

Not a whole processor of transformers: those of Qwen2-VL and LLaVA-OneVision need torchvision, for videos.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

from aiflow.errors import InputError, UnknownModelError
from aiflow.families import inputs

T = TypeVar("T")
DTYPES = ("float32", "bfloat16")


@dataclass(frozen=True, kw_only=True)
class Seeing:
    """A model that sees, ``images``: its image processor, ``template``: of chats, ``ends``: ids that end an answer."""

    model: Any
    tokenizer: Any
    images: Any
    template: str
    ends: frozenset[int]


def load(name: str, *, device: str = "cpu", dtype: str = "float32") -> Seeing:
    """Loads a model.

    Args:
        name: a folder, an id on the Hugging Face Hub, a family's folder, or aiflow:nano/family.
        device: of torch.
        dtype: of its weights.

    Raises:
        UnknownModelError: where there is none, or a part of it is missing.
        UnsupportedModelError: for a kind that feature compression does not know.
        InputError: for another device or dtype.
    """
    import torch

    inputs.one_of("dtype", dtype, DTYPES)
    source = str(inputs.plain_folder(name)) if name.startswith("aiflow:") else str(Path(name).expanduser())
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"device {device!r} is not usable here ({str(error).splitlines()[0]}); use cpu.") from error
    model = _found(name, lambda: _weights(source, getattr(torch, dtype)))
    tokenizer, images = _found(name, lambda: _readers(source, model.config))
    own = model.generation_config.eos_token_id
    ends = {*(own if isinstance(own, list) else [own]), tokenizer.eos_token_id} - {None}
    template = tokenizer.chat_template or _found(name, lambda: _older_template(source))
    if not isinstance(template, str):
        raise InputError(f"{name!r} has no chat template; put a chat_template.jinja beside its tokenizer.")
    return Seeing(
        model=model.to(device).eval(), tokenizer=tokenizer, images=images, template=template, ends=frozenset(ends)
    )


def _found(name: str, read: Callable[[], T]) -> T:
    """What the libraries raise for missing or malformed files becomes one line."""
    from safetensors import SafetensorError

    try:
        return read()
    except (InputError, UnknownModelError):
        raise
    except (OSError, ValueError, KeyError, RuntimeError, ImportError, SafetensorError) as error:
        from aiflow.errors import AiflowError

        if isinstance(error, AiflowError):
            raise
        reason = " ".join(str(error).split())[:160]
        raise UnknownModelError(
            f"cannot load model {name!r}: {reason}; give a folder with config.json, weights, tokenizer and "
            "preprocessor_config.json, or the id of a vision language model on the Hugging Face Hub."
        ) from error


def _weights(source: str, dtype: Any) -> Any:
    from transformers import AutoConfig, AutoModelForImageTextToText, GenerationConfig

    from aiflow.collaboration.tofc.adapters import adapter

    if Path(source).is_dir() and inputs.kind_of(Path(source)) == "aiflow_family":
        from aiflow.collaboration.familial.family import Family

        model = Family.from_pretrained(source, dtype=dtype).backbone
        adapter(model)
        if (Path(source) / "generation_config.json").is_file():
            model.generation_config = GenerationConfig.from_pretrained(source)
        return model
    config = AutoConfig.from_pretrained(source)
    adapter(SimpleNamespace(config=config))  # says so for a kind it does not know, before the weights are read
    return AutoModelForImageTextToText.from_pretrained(source, config=config, dtype=dtype)


def _readers(source: str, config: Any) -> tuple[Any, Any]:
    from transformers import AutoImageProcessor, AutoTokenizer

    return (
        AutoTokenizer.from_pretrained(source, config=config),
        AutoImageProcessor.from_pretrained(source, config=config, backend="pil"),
    )


def _older_template(source: str) -> Any:
    """The chat template of a processor's own file, as models of 2024 have it; None without one."""
    from transformers.utils import cached_file

    path = cached_file(source, "chat_template.json", _raise_exceptions_for_missing_entries=False)
    return None if path is None else json.loads(Path(path).read_text()).get("chat_template")
