"""``aiflow tofc ...`` from the command line's own entry point, on tiny random models with tokenizers of their own."""

import json
import os
import re
import sys
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"

import pytest

from aiflow import cli
from aiflow.bench.tofc import tiny
from aiflow.compression import models, samples
from aiflow.compression.dialogues import Writer
from aiflow.compression.samples import Turn

LETTERS = [*"abcdefghijklmnopqrstuvwxyz", "\u0120", "\u010a", *"?.:ABCDEF0123456789"]
SPECIAL = {55: "<|vision_start|>", 56: "<|vision_end|>", tiny.IMAGE: "<|image|>", tiny.IMAGE + 1: "<|video_pad|>"}
QWEN = (
    "{% for m in messages %}<s>{{ m['role'] }}\n{% if m['content'] is string %}{{ m['content'] }}{% else %}"
    "{% for c in m['content'] %}{% if c['type'] == 'image' %}<|vision_start|><|image|><|vision_end|>"
    "{% else %}{{ c['text'] }}{% endif %}{% endfor %}{% endif %}</s>\n{% endfor %}"
    "{% if add_generation_prompt %}<s>assistant\n{% endif %}"
)
LLAVA = (  # as some do, it leaves the end token out, and reads texts only
    "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }} {% endfor %}"
    "{% if add_generation_prompt %}assistant:{% endif %}"
)
TEMPLATES = {"llava": LLAVA, "qwen2_vl": QWEN}
SMALL = ("--basis", 8, "--hidden", 12, "--hyper", 4, "--models", 2, "--levels", 2, "--tokens", "3,6", "--rank-text", 2)
SIZES = ((61, 83), (200, 50), (150, 161), (70, 70), (90, 130), (64, 100))


def tokenizer(template: str) -> Any:
    from tokenizers import AddedToken, Tokenizer, decoders
    from tokenizers import models as kinds
    from tokenizers import pre_tokenizers as before
    from transformers import PreTrainedTokenizerFast

    names = ["<pad>", "<s>", "</s>", *LETTERS]
    names += [SPECIAL.get(i, f"<{i}>") for i in range(len(names), tiny.VOCABULARY)]
    raw = Tokenizer(kinds.BPE(vocab={name: i for i, name in enumerate(names)}, merges=[]))
    raw.pre_tokenizer, raw.decoder = before.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    made = PreTrainedTokenizerFast(tokenizer_object=raw, bos_token="<s>", eos_token="</s>", pad_token="<pad>")
    made.add_special_tokens({"additional_special_tokens": [AddedToken(n, normalized=False) for n in SPECIAL.values()]})
    made.chat_template = template
    return made


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models of two kinds, pictures, and dialogues on them in both layouts."""
    path: Path = tmp_path_factory.mktemp("tofc")
    for kind, template in TEMPLATES.items():
        tiny.model(kind).save_pretrained(path / kind)
        tokenizer(template).save_pretrained(path / kind)
        tiny.processor(kind).save_pretrained(path / kind)
    (path / "pictures").mkdir()
    own, theirs = [], []
    for i, size in enumerate(SIZES):
        tiny.picture(*size).save(path / "pictures" / f"{i}.png")
        asked, said = f"what is in {i}?", f"a ring and {i} lines."
        own.append({"image": f"pictures/{i}.png", "messages": [
            {"role": "user", "content": asked}, {"role": "assistant", "content": said},
        ]})  # fmt: skip
        theirs.append({"id": i, "image": f"pictures/{i}.png", "conversations": [
            {"from": "human", "value": f"<image>\n{asked}"}, {"from": "gpt", "value": said},
            {"from": "human", "value": "more?"}, {"from": "gpt", "value": "no."},
        ]})  # fmt: skip
    own.insert(1, {"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hi"}]})
    (path / "own.jsonl").write_text("\n".join(map(json.dumps, own)) + "\n\n")
    (path / "theirs.jsonl").write_text("\n".join(map(json.dumps, theirs)))
    (path / "theirs.json").write_text(json.dumps(theirs))
    return path


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs the command line in this process: (exit code, stdout, stderr)."""

    def call(*args: Any) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["aiflow", "tofc", *map(str, args)])
        capsys.readouterr()
        code = cli._main()
        return code, *capsys.readouterr()

    return call


@pytest.fixture
def result(run: Any) -> Any:
    """Runs a command that must succeed and gives its JSON."""

    def call(*args: Any) -> dict[str, Any]:
        code, out, err = run(*args, "--json")
        assert code == 0, err
        found: dict[str, Any] = json.loads(out.splitlines()[-1])
        return found | {"err": err}

    return call


@pytest.mark.parametrize(("kind", "data"), [("llava", "theirs.jsonl"), ("qwen2_vl", "own.jsonl")])
def test_train_encode_and_answer(root: Path, result: Any, run: Any, kind: str, data: str) -> None:
    import torch

    from aiflow.collaboration.tofc.decoder import Decoder
    from aiflow.collaboration.tofc.model import Compressor

    model, out, file = root / kind, root / f"{kind}-codec", root / f"{kind}.tofc"
    more = ("--data", root / data, *SMALL, "--batch-tokens", 100, "--storage", "float32", "--rank-vision", 3)
    args = ("train", model, out, *more, "--steps", 3)
    found = result(*args)
    assert (found["step"], found["dialogues"]) == (3, len(SIZES))
    assert [(r["tokens"], r["level"]) for r in found["settings"]] == [(3, 0), (3, 1), (6, 0), (6, 1)]
    assert all(0 < r["bytes"] < 400 and 0 < r["loss"] < 10 for r in found["settings"])
    assert found["err"].count("step") == 3
    assert ("1 dialogues of" in found["err"]) == (data == "own.jsonl")
    said = json.loads((out / "training.json").read_text())
    assert said["settings"] == found["settings"]
    card = (out / "README.md").read_text()
    assert f"| 6 | 1 | {found['settings'][-1]['bytes']:.0f} |" in card

    code, _, err = run(*args)
    assert (code, "step" in err) == (0, False)  # everything was done: nothing is trained again
    code, _, err = run(*args, "--seed", 1)
    assert code == 2
    assert "--no-resume" in err

    sent = result("encode", model, out, root / "pictures" / "2.png", "-o", file)
    assert (sent["tokens"], sent["level"]) == (6, 1)
    assert sent["bytes"] == len(file.read_bytes()) < sent["image_bytes"]
    least = result("encode", model, out, root / "pictures" / "2.png", "-o", root / "x", "--tokens", 3, "--level", 0)
    assert least["bytes"] < sent["bytes"]

    answered = result("answer", model, out, file, "what is in it?", "--limit", 12)
    assert answered["bytes"] == sent["bytes"]
    seeing = models.load(str(model))
    made = Compressor.from_pretrained(out, seeing.model)
    decoder, ids = Decoder(made.backbone, made.codec), Writer(seeing).question("what is in it?")
    prompt = decoder.prompt(decoder.image(file.read_bytes()), ids)
    expected = decoder.generate(prompt, limit=12, stop={2})
    assert answered["answer"] == seeing.tokenizer.decode(expected, skip_special_tokens=True).strip()
    assert torch.isfinite(decoder.logits(prompt)).all()


def test_training_more_lowers_the_loss(root: Path, result: Any) -> None:
    args = ("--data", root / "own.jsonl", *SMALL, "--batch-tokens", 200, "--lr", 0.01, "--rates", "1e-4,1e-5")
    found = result("train", root / "qwen2_vl", root / "longer", *args, "--steps", 25)
    assert all(r["loss"] < 0.7 * found["plain_loss"] for r in found["settings"])  # of a model that knew nothing
    half = result("train", root / "llava", root / "half", *args, "--steps", 2, "--dtype", "bfloat16")
    assert half["step"] == 2


@pytest.mark.parametrize("kind", TEMPLATES)
def test_answers_count_and_questions_do_not(root: Path, kind: str) -> None:
    writer, seeing = Writer(seeing := models.load(str(root / kind))), seeing
    turns = [Turn(role=role, text=text) for role, text in (
        ("user", "what?"), ("assistant", "a ring."), ("user", "more?"), ("assistant", "no."),
    )]  # fmt: skip
    ids, weights = writer.dialogue(turns, 500)
    assert ids.count(tiny.IMAGE) == 1
    counted = [i for i, weight in zip(ids, weights, strict=True) if weight]
    text = seeing.tokenizer.decode(counted)
    assert "".join(text.split()) == ("a ring.</s>no.</s>" if kind == "qwen2_vl" else "a ring. no. </s>").replace(
        " ", ""
    )
    first = weights.index(1.0)
    assert ids[:first] == writer.question("what?")[:first]  # an answer begins where a question leaves off
    assert len(writer.question("what?")) - first in (0, 1)
    short, _ = writer.dialogue(turns, 9)
    assert short == ids[:9]


def test_both_layouts_read_alike(root: Path) -> None:
    (own, blind), (theirs, none) = samples.read(root / "own.jsonl"), samples.read(root / "theirs.jsonl")
    assert (blind, none) == (1, 0)
    assert [s.turns for s in own] == [s.turns[:2] for s in theirs]
    assert (
        [s.image for s in own] == [s.image for s in theirs] == [s.image for s in samples.read(root / "theirs.json")[0]]
    )
    assert own[1].place == f"line 3 of {str(root / 'own.jsonl')!r}"


def row(image: str = "pictures/0.png", role: str = "assistant", said: str = "b") -> str:
    turns = [{"role": "user", "content": "a"}, {"role": role, "content": said}]
    return json.dumps({"image": image, "messages": turns})


BAD_DATA = {
    "missing image": (row(image="pictures/gone.png"), "line 2 ("),
    "not JSON": ("{", "line 2 of"),
    "no messages": ('{"image": "pictures/0.png"}', "line 2 of"),
    "no object": ("[1]", "line 2 of"),
    "unknown role": (row(role="robot"), "line 2 of"),
    "no answer": (row(role="user"), "user, user"),
    "several images": (row().replace('"pictures/0.png"', '["a.png", "b.png"]'), "several images"),
    "an image token in the text": (row(said="<|image|>"), "2 image tokens"),
    "a broken image": (row(image="own.jsonl"), "line 2 of"),
}


@pytest.mark.parametrize("name", BAD_DATA)
def test_bad_data_names_its_line(root: Path, run: Any, name: str) -> None:
    bad, words = BAD_DATA[name]
    (root / "bad.jsonl").write_text(f"{row()}\n{bad}\n")
    args = ("--data", root / "bad.jsonl", *SMALL, "--steps", 1)
    code, _, err = run("train", root / "qwen2_vl", root / "bad", *args, "--no-resume")
    _clean(code, err, words)
    assert "line 2" in err


BAD = {
    "no data": (["train", "{qwen2_vl}", "{out}", "--data", "nowhere.jsonl"], "nowhere.jsonl"),
    "no model": (["train", "nowhere", "{out}", "--data", "{own}"], "cannot load model 'nowhere'"),
    "another kind": (["train", "{gpt}", "{out}", "--data", "{own}"], "'gpt2' model has no adapter"),
    "no template": (["train", "{mute}", "{out}", "--data", "{own}"], "no chat template"),
    "no image in the template": (["train", "{blind}", "{out}", "--data", "{own}"], "does not write its image token"),
    "no image processor": (["train", "{bare}", "{out}", "--data", "{own}"], "preprocessor_config.json"),
    "the source itself": (["train", "{llava}", "{llava}", "--data", "{own}"], "is the source itself"),
    "tokens of letters": (["train", "{llava}", "{out}", "--data", "{own}", "--tokens", "few"], "tokens='few'"),
    "too few rates": (["train", "{llava}", "{out}", "--data", "{own}", "--rates", "1e-4"], "write 4 numbers"),
    "unknown storage": (["train", "{llava}", "{out}", "--data", "{own}", "--storage", "int4"], "did you mean 'int8'"),
    "unknown dtype": (["train", "{llava}", "{out}", "--data", "{own}", "--dtype", "float31"], "did you mean"),
    "unknown device": (["train", "{llava}", "{out}", "--data", "{own}", "--device", "abacus"], "device 'abacus'"),
    "too short": (["train", "{llava}", "{out}", "--data", "{own}", "--length", "5"], "raise it"),
    "no codec": (["encode", "{llava}", "{llava}", "{image}", "-o", "{out}/x"], "no feature codec"),
    "no picture": (["encode", "{llava}", "{llava}", "{own}", "-o", "{out}/x"], "cannot be read"),
    "no message": (["answer", "{llava}", "{llava}", "nowhere.tofc", "what?"], "nowhere.tofc"),
    "no question": (["answer", "{llava}", "{llava}", "{own}", " "], "the question is empty"),
}


@pytest.fixture(scope="module")
def places(root: Path) -> dict[str, str]:
    """What the bad calls name."""
    for name, left_out in (("mute", "chat_template.jinja"), ("blind", ""), ("bare", "preprocessor_config.json")):
        (root / name).mkdir()
        for path in (root / "llava").iterdir():
            if path.name != left_out:
                (root / name / path.name).write_bytes(path.read_bytes())
    (root / "blind" / "chat_template.jinja").write_text("{{ messages[0]['role'] }}")
    (root / "gpt").mkdir()
    (root / "gpt" / "config.json").write_text('{"model_type": "gpt2"}')
    names = {name: root / name for name in ("llava", "qwen2_vl", "gpt", "mute", "blind", "bare", "out")}
    names |= {"own": root / "own.jsonl", "image": root / "pictures" / "0.png"}
    return {name: str(path) for name, path in names.items()}


@pytest.mark.parametrize("name", BAD)
def test_user_errors_are_one_line_and_exit_2(name: str, places: dict[str, str], run: Any) -> None:
    args, words = BAD[name]
    code, _, err = run(*(arg.format(**places) for arg in args))
    _clean(code, err, words)
    assert not (Path(places["out"]) / "model.safetensors").exists()


def _clean(code: int, err: str, words: str) -> None:
    said = [line for line in err.splitlines() if line.startswith("aiflow: ")]
    assert code == 2, err
    assert words in said[-1]
    assert "Traceback" not in err
    assert not re.search(r"\n\S", err.split("aiflow: ", 1)[1].strip())


def test_a_damaged_message_is_refused(root: Path, run: Any, result: Any) -> None:
    args = ("--data", root / "own.jsonl", *SMALL, "--steps", 1)
    result("train", root / "llava", root / "damaged", *args)
    result("encode", root / "llava", root / "damaged", root / "pictures" / "1.png", "-o", root / "d.tofc")
    data = bytearray((root / "d.tofc").read_bytes())
    data[5] ^= 4
    (root / "d.tofc").write_bytes(bytes(data))
    code, _, err = run("answer", root / "llava", root / "damaged", root / "d.tofc", "what?")
    assert code == 1
    assert "damaged" in err
