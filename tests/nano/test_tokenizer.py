"""The tokenizer and its chat template."""

import random
from typing import Any

from aiflow.nano import tokenizer as tok
from aiflow.nano.data import base, names


def test_it_is_reproducible(tokenizer: Any) -> None:
    assert tok.train_tokenizer(0).get_vocab() == tokenizer.get_vocab()
    assert len(tokenizer) <= tok.VOCAB


def test_round_trip(tokenizer: Any) -> None:
    rng = random.Random(1)
    said = [t.text for _ in range(200) for t in base.stream(rng)]
    for text in [*said, "  spaces ", "\nline", "Grüße, 東京 🚢", "x = [1, 22]\n    print(x)"]:
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_every_digit_is_one_token(tokenizer: Any) -> None:
    for number in ("7", "42", "1999", "20 30"):
        digits = number.replace(" ", "")
        assert [t.strip("Ġ") for t in tokenizer.tokenize(number)] == list(digits)


def test_words_are_one_token_and_invented_names_two(tokenizer: Any) -> None:
    assert all(len(tokenizer.tokenize(w)) == 1 for w in base.EVERY)
    rng = random.Random(0)
    invented = [names.free_name(rng) for _ in range(200)] + list(names.private_names(0, 60))
    assert all(len(tokenizer.tokenize(n)) == 2 for n in invented)


def test_the_template_is_what_training_encodes(tokenizer: Any) -> None:
    rng = random.Random(2)
    for _ in range(50):
        dialogue = base.stream(rng)
        talk = [{"role": t.role, "content": t.text} for t in dialogue]
        written = tokenizer.apply_chat_template(talk, tokenize=False)
        ids, learn = tok.encode(tokenizer, dialogue)
        assert tokenizer(written, add_special_tokens=False)["input_ids"] == ids
        assert len(ids) == len(learn)
        assert ids[-1] == tok.EOS
        assert learn[-1]


def test_the_template_takes_parts_images_and_a_system_role(tokenizer: Any) -> None:
    talk = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What is it?"}]},
    ]
    written = tokenizer.apply_chat_template(talk, tokenize=False, add_generation_prompt=True)
    assert written == "<s><|system|>Be brief.<|user|><image>What is it?<|assistant|>"
    ids = tokenizer(written, add_special_tokens=False)["input_ids"]
    assert ids.count(tokenizer.convert_tokens_to_ids("<image>")) == 1
    assert ids[-1] == tok.ASSISTANT
