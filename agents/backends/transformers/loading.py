"""A model's name -> weights, tokenizer, processor. Knows nothing of requests."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError

from aiflow.agents.backends.transformers import members
from aiflow.agents.backends.transformers.prompt import Prompter
from aiflow.errors import InputError, UnknownModelError

T = TypeVar("T")
_DTYPES = ("float32", "bfloat16", "float16", "auto")
_UNBOUNDED = 1 << 30  # tokens, for models that state no context
_SPACE = "\u2581"  # how SentencePiece writes it


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """A model ready to answer.

    ``decode``: tokens to text, without special ones; ``spell``: one token to text, for ``Answer.logprobs``;
    ``ends``: token ids that end an answer; ``silent``: ids that no answer has, such as an image's; ``context``: tokens
    of prompt and answer; ``drafter``: a family's own; ``member``: which of a family it is, if not the full model;
    ``source``: the folder or Hub id of its weights.
    """

    model: Any
    decode: Callable[[list[int]], str]
    spell: Callable[[int], str]
    prompter: Prompter
    ends: frozenset[int]
    silent: tuple[int, ...]
    context: int
    drafter: Any | None = None
    member: Any | None = None
    source: str = ""


def load(name: str, *, device: str, dtype: str, max_context: int | None) -> Loaded:
    """Loads ``name`` (see TransformersBackend). Raises UnknownModelError, InputError."""
    _check(device, dtype)
    whole, part = members.split(name)
    source, adapter = _resolve(whole)
    model: Any = members.load(source, part, dtype)
    if model is None:
        config = _found(name, source, _config)
        model = _found(name, source, lambda path: _weights(path, config, dtype))
    vision = getattr(model.config, "vision_config", None) is not None
    _only_ends(model)
    if adapter:
        model = _found(name, adapter, lambda path: _merged(model, path))
    tokenizer = _found(name, _tokenizer_home(source, adapter), lambda path: _tokenizer(path, model.config))
    processor = _found(name, source, _processor) if vision else None
    context = _context(model.config.get_text_config(decoder=True), max_context)
    model = model.to(device).eval()
    return Loaded(
        model=model,
        decode=_decoder(tokenizer),
        spell=_speller(tokenizer),
        prompter=Prompter(tokenizer, processor, context),
        ends=_end_ids(model, tokenizer),
        silent=() if (image := getattr(model.config, "image_token_id", None)) is None else (int(image),),
        context=context,
        drafter=members.drafter(source, model),
        member=members.member(source, part),
        source=source,
    )


def _check(device: str, dtype: str) -> None:
    if dtype not in _DTYPES:
        raise InputError(f"dtype {dtype!r} is not usable; give one of {', '.join(_DTYPES)}.")
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"device {device!r} is not usable ({reason}); use cpu, or a device of this machine."
        ) from error


def _resolve(name: str) -> tuple[str, str | None]:
    """The base model and, if any, the adapter over it: folders or Hub ids."""
    if name.startswith("aiflow:"):
        from aiflow import nano

        base, adapter = nano.resolve(name.removeprefix("aiflow:"))
        return str(base), str(adapter) if adapter else None
    name = str(Path(name).expanduser()) if name.startswith("~") else name
    if not (Path(name) / "adapter_config.json").is_file():
        return name, None
    return _found(name, name, _base_of), name


def _base_of(adapter: str) -> str:
    base = json.loads((Path(adapter) / "adapter_config.json").read_text()).get("base_model_name_or_path")
    if not base:
        raise ValueError("adapter_config.json names no base_model_name_or_path")
    return str(base)


def _found(name: str, source: str, read: Callable[[str], T]) -> T:
    """Calls ``read(source)``; what the libraries raise for missing or malformed files becomes one line."""
    try:
        return read(source)
    except (OSError, ValueError, KeyError, RuntimeError, ImportError, SafetensorError) as error:
        absent = isinstance(error, OSError | ValueError) and not Path(source).is_dir()
        reason = "no such folder, nor a model in reach" if absent else " ".join(str(error).split())[:160]
        raise UnknownModelError(
            f"cannot load model {name!r} from {source!r}: {reason}; give a folder with config.json and weights, "
            "or the id of a causal or vision language model on the Hugging Face Hub."
        ) from error


def _config(source: str) -> Any:
    from transformers import AutoConfig

    return AutoConfig.from_pretrained(source)


def _weights(source: str, config: Any, dtype: str) -> Any:
    from transformers import AutoModelForCausalLM, AutoModelForImageTextToText

    vision = getattr(config, "vision_config", None) is not None
    auto = AutoModelForImageTextToText if vision else AutoModelForCausalLM
    return auto.from_pretrained(source, config=config, dtype=dtype)


def _only_ends(model: Any) -> None:
    """Of the generation config only the special ids stay: decoding follows the request."""
    from transformers import GenerationConfig

    kept = model.generation_config
    model.generation_config = GenerationConfig(
        bos_token_id=kept.bos_token_id, eos_token_id=kept.eos_token_id, pad_token_id=kept.pad_token_id or 0
    )


def _merged(model: Any, adapter: str) -> Any:
    from peft import PeftModel  # 1.8 s, so only where an adapter is there

    return PeftModel.from_pretrained(model, adapter).merge_and_unload()


def _tokenizer_home(source: str, adapter: str | None) -> str:
    return adapter if adapter and (Path(adapter) / "tokenizer_config.json").is_file() else source


def _tokenizer(source: str, config: Any) -> Any:
    from transformers import AutoTokenizer

    # With the model's own configuration: that of a family's folder has a type that transformers would warn of.
    return AutoTokenizer.from_pretrained(source, config=config)


def _processor(source: str) -> Any:
    from transformers import AutoProcessor

    with members.quietly(source):
        return AutoProcessor.from_pretrained(source, backend="pil")


def _context(config: Any, wanted: int | None) -> int:
    own = next(
        (n for key in ("max_position_embeddings", "n_positions") if (n := getattr(config, key, None))), _UNBOUNDED
    )
    if wanted and wanted > own:
        raise InputError(f"max_context={wanted} is not usable: the model reads {own} tokens; give {own} or less.")
    return int(wanted or own)


def _end_ids(model: Any, tokenizer: Any) -> frozenset[int]:
    own = model.generation_config.eos_token_id
    ids = own if isinstance(own, list) else [own]
    return frozenset(i for i in (*ids, tokenizer.eos_token_id) if i is not None)


def _decoder(tokenizer: Any) -> Callable[[list[int]], str]:
    def decode(ids: list[int]) -> str:
        text: str = tokenizer.decode(ids, skip_special_tokens=True)
        return text

    return decode


def _speller(tokenizer: Any) -> Callable[[int], str]:
    """One token's text: special ones by name, the leading space kept that SentencePiece drops from a text's first word.

    A token that is no whole character reads as U+FFFD, an id beyond the vocabulary as nothing.
    """

    def spell(token: int) -> str:
        if token >= len(tokenizer):
            return ""
        text: str = tokenizer.decode([token], skip_special_tokens=False, clean_up_tokenization_spaces=False)
        piece = tokenizer.convert_ids_to_tokens(token) or ""
        return f" {text}" if piece.startswith(_SPACE) and not text.startswith(" ") else text

    return spell
