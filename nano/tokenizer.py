"""The family's tokenizer: byte-level BPE of 2048 tokens trained on the procedural corpus, every digit one token.

Text after a special token is read as if a space stood before it, so that a word is the same token at the start of an
answer and inside it; decoding removes that space.
"""

import random
from itertools import islice
from typing import Any

from aiflow.nano.data import base, names, scenario
from aiflow.nano.data.dialogue import Dialogue

VOCAB = 1536
SPECIALS = (
    "<pad>",
    "<s>",
    "</s>",
    "<|user|>",
    "<|assistant|>",
    "<|system|>",
    "<image>",
    *(f"<|reserved_{i}|>" for i in range(9)),
)
PAD, BOS, EOS, USER, ASSISTANT, SYSTEM = range(6)
ROLE = {"user": USER, "assistant": ASSISTANT, "system": SYSTEM}
TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{{ '<|' + message['role'] + '|>' }}"
    "{% if message['content'] is string %}{{ message['content'] }}"
    "{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'text' %}{{ part['text'] }}{% elif part['type'] == 'image' %}<image>{% endif %}"
    "{% endfor %}{% endif %}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def corpus(seed: int, dialogues: int = 12000) -> list[str]:
    """Texts to learn the merges from: the base's stream, each domain's items, and all words."""
    rng = random.Random(f"{seed} tokenizer")
    texts = [t.text for _ in range(dialogues) for t in base.stream(rng)]
    for domain in scenario.CORE * 500:
        item = scenario.pair(rng, "train", domain)
        texts += [*item.turns, *item.answers]
    words = [*base.EVERY, *scenario.ALIASES, *scenario.ABOUTS]
    texts += [" ".join(rng.sample(words, 20)) for _ in range(len(words) * 5)]
    return [names.TWO_PARTS.sub(r"\1\n\2", t) for t in texts]


def train_tokenizer(seed: int) -> Any:
    """Trains the BPE and wraps it with special tokens and the chat template (a ``PreTrainedTokenizerFast``)."""
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    raw = Tokenizer(models.BPE())
    raw.normalizer = normalizers.Prepend(" ")
    raw.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(r" ?\d"), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    raw.decoder = decoders.Sequence([decoders.ByteLevel(), decoders.Strip(" ", 1, 0)])
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB,
        special_tokens=list(SPECIALS),
        show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    raw.train_from_iterator(corpus(seed), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=raw,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        chat_template=TEMPLATE,
        additional_special_tokens=list(SPECIALS[3:]),
        model_max_length=1024,
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )


def encode(tokenizer: Any, dialogue: Dialogue) -> tuple[list[int], list[bool]]:
    """Token ids of a dialogue (as the chat template writes it) and which of them are training targets."""
    ids, learn = [BOS], [False]
    texts = tokenizer([t.text for t in dialogue], add_special_tokens=False)["input_ids"]
    for turn, body in zip(dialogue, texts, strict=True):
        end = [EOS] if turn.role == "assistant" else []
        ids += [ROLE[turn.role], *body, *end]
        learn += [False] + [turn.learn] * (len(body) + len(end))
    return ids, learn


def sample(tokenizer: Any, stream: Any, rng: random.Random, count: int) -> list[tuple[list[int], list[bool]]]:
    """``count`` encoded dialogues of a stream."""
    return [encode(tokenizer, d) for d in islice(iter(lambda: stream(rng), None), count)]
