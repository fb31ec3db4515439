"""Messages -> tokens: the model's chat template, or a plain transcript where it has none. Runs no model."""

from collections.abc import Mapping, Sequence
from typing import Any

import jinja2

from aiflow import prompts
from aiflow.agents.backends.transformers.requests import Prompt
from aiflow.agents.backends.transformers.vision import pictures
from aiflow.errors import InputError
from aiflow.types import Image, Message

PLAIN_STOP = ("\nUser:",)


class Prompter:
    """Writes conversations in the form that one model reads.

    Without a chat template a conversation becomes ``User: ...`` / ``Assistant: ...`` lines that end in
    ``Assistant:``, and the answer stops at ``PLAIN_STOP``. A template that refuses system messages gets their text
    at the head of the next message. ``context``: tokens of prompt and answer together.
    """

    def __init__(self, tokenizer: Any, processor: Any | None, context: int) -> None:
        self._tokenizer, self._processor, self._context = tokenizer, processor, context
        own = getattr(processor, "chat_template", None)
        self._writer = processor if own else tokenizer if tokenizer.chat_template else None
        self._parts = bool(own)  # a processor's template reads content as a list of parts

    def __call__(self, messages: Sequence[Message]) -> Prompt:
        """Raises InputError for a conversation that leaves no room for an answer, or images that cannot be used."""
        images = pictures(messages)
        if not images:
            return self._prompt(self._text(messages))
        if self._processor is None:
            raise InputError("the model reads text only; ask a vision model, or send the message without its image.")
        text, special = [self._text(messages)], self._writer is None
        found = self._processor(images=images, text=text, return_tensors="pt", add_special_tokens=special)
        extra = {k: v for k, v in found.items() if k not in ("input_ids", "attention_mask")}
        return self._checked(found["input_ids"][0].tolist(), extra)

    def marked(self, messages: Sequence[Message]) -> Prompt:
        """Like a call, but an image is one token and is not looked at: its features come another way."""
        return self._prompt(self._text(messages))

    def pixels(self, image: Image) -> Mapping[str, Any]:
        """What the model's image processor makes of a picture. Raises InputError for a text model or a broken image."""
        if self._processor is None:
            raise InputError("the model reads text only; let a vision model look at the image.")
        (picture,) = pictures([Message("user", "", (image,))])
        found: Mapping[str, Any] = self._processor.image_processor(images=picture, return_tensors="pt")
        return found

    def _prompt(self, text: str) -> Prompt:
        return self._checked(
            self._tokenizer(text, add_special_tokens=self._writer is None, verbose=False)["input_ids"], {}
        )

    def _checked(self, ids: list[int], extra: Mapping[str, Any]) -> Prompt:
        if not 0 < len(ids) < self._context:
            raise InputError(
                f"the conversation has {len(ids)} tokens and the model reads {self._context}, the answer included; "
                "shorten the conversation or use a model with a longer context."
            )
        return Prompt(ids=ids, extra=extra, stop=() if self._writer else PLAIN_STOP)

    @property
    def tokenizer(self) -> Any:
        """What gives tokens their ids."""
        return self._tokenizer

    @property
    def template(self) -> str | None:
        """The chat template; None: the plain transcript."""
        return getattr(self._writer, "chat_template", None)

    def images(self, images: Sequence[Image], ids: Sequence[int]) -> Mapping[str, Any]:
        """What a forward pass needs besides ``ids``, another's tokens, for these images.

        Raises InputError if the model takes no images, or gives them another number of tokens.
        """
        if not images:
            return {}
        if self._processor is None:
            raise InputError("the model reads text only; let a vision model judge, or leave the image out.")
        mark = self._processor.image_token
        found = self._processor(images=pictures([Message("user", "", tuple(images))]), text=[mark * len(images)])
        token = self._tokenizer.convert_tokens_to_ids(mark)
        own, theirs = list(found["input_ids"][0]).count(token), list(ids).count(token)
        if own != theirs:
            raise InputError(f"the images take {theirs} tokens at the device and {own} at the judge; they must agree.")
        return {k: v for k, v in found.convert_to_tensors("pt").items() if k not in ("input_ids", "attention_mask")}

    def _text(self, messages: Sequence[Message]) -> str:
        return self._render(messages) if self._writer else self._plain(messages)

    def _render(self, messages: Sequence[Message]) -> str:
        try:
            return self._template(messages)
        except jinja2.TemplateError as error:
            if any(m.role == "system" for m in messages[:-1]):
                return self._render(_without_system(messages))
            raise InputError(f"the model's chat template refuses the conversation: {error}") from error

    def _template(self, messages: Sequence[Message]) -> str:
        chat = [{"role": m.role, "content": self._content(m)} for m in messages]
        text: str = self._writer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)  # type: ignore[union-attr]
        return text

    def _content(self, message: Message) -> Any:
        if self._parts:
            return [*({"type": "image"} for _ in message.images), {"type": "text", "text": message.text}]
        return self._marks(message) + message.text

    def _marks(self, message: Message) -> str:
        mark = getattr(self._processor, "image_token", "<image>")
        return f"{mark}\n" * len(message.images)

    def _plain(self, messages: Sequence[Message]) -> str:
        return prompts.transcript((m.role, self._marks(m) + m.text) for m in messages) + "\nAssistant:"


def _without_system(messages: Sequence[Message]) -> list[Message]:
    """Moves each system message's text to the head of the next message."""
    kept: list[Message] = []
    head = ""
    for message in messages:
        if message.role == "system" and message is not messages[-1]:
            head += f"{message.text}\n\n"
        else:
            kept.append(Message(message.role, head + message.text, message.images))
            head = ""
    return kept
