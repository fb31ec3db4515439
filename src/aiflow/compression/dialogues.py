"""Dialogues and questions on an image as tokens, by a model's own chat template. Knows no images.

A prompt has one image token, at the start of the first question. Answers count, with the token that ends each.
"""

from collections.abc import Sequence
from typing import Any

from aiflow.compression.models import Seeing
from aiflow.compression.samples import Turn
from aiflow.errors import InputError


class Writer:
    """Writes in the form that one model reads."""

    def __init__(self, seeing: Seeing) -> None:
        """Raises InputError for a tokenizer without offsets, or a chat template that knows no images."""
        self._tokenizer, self._template, self._ends = seeing.tokenizer, seeing.template, seeing.ends
        self._image = int(seeing.model.config.image_token_id)
        self._mark = self._tokenizer.convert_ids_to_tokens(self._image)
        if not self._tokenizer.is_fast:
            raise InputError("the tokenizer cannot say where a token stands in the text; use its fast version.")
        self._parts = True  # a template reads content as a list of parts, or as a text
        self._parts = self._shows_image()
        if not self._parts and not self._shows_image():
            raise InputError(f"the model's chat template does not write its image token {self._mark!r}.")

    def question(self, text: str) -> list[int]:
        """The tokens of a question on an image, up to where the answer begins. Raises InputError."""
        ids: list[int] = self._tokens(self._render([Turn(role="user", text=text)], open_=True))["input_ids"]
        return self._checked(ids)

    def dialogue(self, turns: Sequence[Turn], length: int) -> tuple[list[int], list[float]]:
        """At most ``length`` tokens of a dialogue, and what each counts: 1 in answers, 0 elsewhere.

        Raises InputError for what the template refuses, or a text with an image token in it.
        """
        text = self._render(turns)
        found = self._tokens(text)
        ids, weights = list(found["input_ids"]), [0.0] * len(found["input_ids"])
        ended = False
        for start, end in self._answers(turns, text):
            ended = False
            for i, (first, behind) in enumerate(found["offset_mapping"]):
                if behind > start and first < end and not ended:
                    weights[i], ended = 1.0, ids[i] in self._ends
        if not ended and self._tokenizer.eos_token_id is not None:  # some templates leave it out
            ids.append(self._tokenizer.eos_token_id)
            weights.append(1.0)
        return self._checked(ids)[:length], weights[:length]

    def _shows_image(self) -> bool:
        try:
            return self._render([Turn(role="user", text="a")], open_=True).count(self._mark) == 1
        except InputError:
            return False

    def _answers(self, turns: Sequence[Turn], text: str) -> list[tuple[int, int]]:
        """Where the answers are in a dialogue's text."""
        found = []
        for i, turn in enumerate(turns):
            if turn.role == "assistant":
                before, behind = self._render(turns[:i], open_=True), self._render(turns[: i + 1])
                if not text.startswith(before) or not text.startswith(behind):
                    raise InputError("the model's chat template changes what was said when more is said; use another.")
                found.append((len(before), len(behind)))
        return found

    def _tokens(self, text: str) -> Any:
        return self._tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)

    def _checked(self, ids: list[int]) -> list[int]:
        if ids.count(self._image) != 1:
            raise InputError(f"the dialogue has {ids.count(self._image)} image tokens; leave {self._mark!r} out of it.")
        return ids

    def _render(self, turns: Sequence[Turn], *, open_: bool = False) -> str:
        import jinja2

        chat, first = [], True
        for turn in turns:
            shown = first and turn.role == "user"
            first = first and not shown
            content: Any = [{"type": "text", "text": turn.text}]
            if shown:
                content.insert(0, {"type": "image"})
            if not self._parts:
                content = (f"{self._mark}\n" if shown else "") + turn.text
            chat.append({"role": turn.role, "content": content})
        try:
            text: str = self._tokenizer.apply_chat_template(
                chat, chat_template=self._template, tokenize=False, add_generation_prompt=open_
            )
        except jinja2.TemplateError as error:
            raise InputError(f"the model's chat template refuses the dialogue: {error}") from error
        return text
