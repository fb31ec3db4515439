"""The asker's side of text: conversation to tokens and tokens to text, without any weights of the model."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from aiflow.agents.backends.blocks import located
from aiflow.agents.backends.transformers import loading
from aiflow.agents.backends.transformers.prompt import Prompter
from aiflow.agents.backends.transformers.requests import Request
from aiflow.collaboration.partition.weights import read_config
from aiflow.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Words:
    """As `backends.transformers.loading.Loaded`, without the model."""

    prompter: Prompter
    decode: Callable[[list[int]], str]
    spell: Callable[[int], str]
    ends: frozenset[int]

    def start(self, request: Request, context: int, seed: int) -> None:
        """Writes the prompt of a request. Raises InputError for images and conversations that are too long."""
        if any(message.images for message in request.messages):
            raise InputError("a partitioned model reads text only; ask a whole vision model about images.")
        prompt = self.prompter(request.messages)
        if len(prompt.ids) >= context:
            raise InputError(
                f"the conversation has {len(prompt.ids)} tokens and the stages have room for {context}, the answer "
                "included; shorten it, or give partitioned(..., tokens=) more."
            )
        request.start(prompt, self.decode, self.spell, ends=self.ends, context=context, seed=seed)


def words(model: str) -> Words:
    """Of a model such as ``blocks:aiflow:nano/base``. Raises UnknownModelError, WeightsError."""
    from transformers import GenerationConfig

    folder, adapter = located(model)
    source = str(folder)
    config = read_config(folder)
    home = loading._tokenizer_home(source, None if adapter is None else str(adapter))
    tokenizer = loading._found(model, home, lambda path: loading._tokenizer(path, config))
    seeing = getattr(config, "vision_config", None) is not None
    processor = loading._found(model, source, loading._processor) if seeing else None
    own: Any = (
        GenerationConfig.from_pretrained(source)
        if (Path(source) / "generation_config.json").is_file()
        else GenerationConfig.from_model_config(config)
    )
    return Words(
        prompter=Prompter(tokenizer, processor, loading._context(config.get_text_config(decoder=True), None)),
        decode=loading._decoder(tokenizer),
        spell=loading._speller(tokenizer),
        ends=loading._end_ids(SimpleNamespace(generation_config=own), tokenizer),
    )


_known: dict[str, Words] = {}


def of(facts: Mapping[str, Any]) -> Words:
    """The words of an agent's model, read once. Raises InputError for an agent that says none."""
    model = facts.get("model", "")
    if not str(model).startswith("blocks:"):
        raise InputError(f"model {model!r} is no 'blocks:' model; give agents one like 'blocks:aiflow:nano/base'.")
    if model not in _known:
        _known[model] = words(model)
    return _known[model]
