"""A model of the family that answers, for training reports and tests; the product's own back end lives in `agents`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

Message = dict[str, str]


class Speaker:
    """Greedy answers of a base with an optional LoRA adapter, in fp32."""

    def __init__(self, base: Path, adapter: Path | None = None, *, merge: bool = True) -> None:
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self.tokenizer: Any = AutoTokenizer.from_pretrained(base)
        self.model: Any = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
        if adapter:
            from peft import PeftModel

            self.model = PeftModel.from_pretrained(self.model, adapter).float()
            self.model = self.model.merge_and_unload() if merge else self.model
        self.model.eval()

    def answer(self, talks: Sequence[list[Message]], *, limit: int = 48, batch: int = 96) -> list[str]:
        """One answer per conversation; ``limit`` is in tokens. Conversations are batched by length."""
        prompts = [self.tokenizer.apply_chat_template(t, tokenize=False, add_generation_prompt=True) for t in talks]
        order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
        said = [""] * len(prompts)
        for start in range(0, len(order), batch):
            chosen = order[start : start + batch]
            for i, text in zip(chosen, self._batch([prompts[i] for i in chosen], limit), strict=True):
                said[i] = text
        return said

    def _batch(self, prompts: list[str], limit: int) -> list[str]:
        rows = self.tokenizer(
            prompts,
            return_tensors="pt",
            padding=True,
            padding_side="left",
            add_special_tokens=False,
            return_token_type_ids=False,
        )
        with torch.inference_mode():
            out = self.model.generate(**rows, max_new_tokens=limit, do_sample=False)
        texts = self.tokenizer.batch_decode(out[:, rows["input_ids"].shape[1] :], skip_special_tokens=True)
        return [t.strip() for t in texts]
