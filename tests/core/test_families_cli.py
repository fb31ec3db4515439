"""``aiflow familial ...`` from the command line's own entry point, on tiny random models."""

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from aiflow import cli

LINES = [f"the {a} {b} sees {c} ships" for a, b in (("old", "king"), ("red", "fox"), ("tall", "girl")) for c in "abc"]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama of four blocks that speaks letters, and texts."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    path = tmp_path_factory.mktemp("familial")
    names = ["<s>", "</s>", "<pad>", *"abcdefghijklmnopqrstuvwxyz", "\u0120", "\u010a"]
    raw = Tokenizer(models.BPE(vocab={name: i for i, name in enumerate(names)}, merges=[]))
    raw.pre_tokenizer, raw.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    made = PreTrainedTokenizerFast(tokenizer_object=raw, bos_token="<s>", eos_token="</s>", pad_token="<pad>")
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(names), hidden_size=32, intermediate_size=48, num_hidden_layers=4, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=64, bos_token_id=0, eos_token_id=1, pad_token_id=2,
        initializer_range=0.4, tie_word_embeddings=False,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(path / "model")
    made.save_pretrained(path / "model")
    (path / "texts.txt").write_text("\n".join(LINES))
    return path


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs the command line in this process: (exit code, stdout, stderr)."""

    def call(*args: Any) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["aiflow", "familial", *map(str, args)])
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
        return found

    return call


@pytest.fixture(scope="module")
def family(root: Path) -> Path:
    """A family with branches at 1 and 2."""
    from aiflow import families

    texts = root / "texts.txt"
    families.branch(
        str(root / "model"),
        root / "family",
        texts=texts,
        exits="1,2",
        keep=0.75,
        storage="float32",
        length=32,
        json=False,
    )
    return root / "family"


def test_decompose_writes_levels_and_says_what_they_lose(root: Path, result: Any) -> None:
    from aiflow.collaboration.familial import nested

    out = root / "nested"
    found = result("decompose", root / "model", out, "--texts", root / "texts.txt", "--keep", "0.6,0.3")
    assert [x["name"] for x in found["levels"]] == ["0.3", "0.6"]
    assert found["calibration_tokens"] == sum(map(len, LINES))
    losses = [sum(m["loss"][k] for m in found["matrices"]) for k in range(2)]
    assert losses[0] > losses[1] > 0
    assert nested.load(out, "0.3")(torch.tensor([[3, 4]])).logits.shape == (1, 2, 31)
    assert (out / "tokenizer.json").is_file()
    table = result("members", out, "--memory", f"{found['levels'][0]['bytes']} B")
    assert [row["parameters"] for row in table["members"]] == [x["parameters"] for x in found["levels"]]
    assert table["chosen"]["member"] == "0.3"
    scored = result("eval", out, "--texts", root / "texts.txt")
    assert [row["line"] for row in scored["members"]] == ["nested", "nested"]


@pytest.mark.parametrize("ranks", ["greedy", "uniform"])
def test_decompose_to_a_number_of_parameters(root: Path, result: Any, ranks: str) -> None:
    texts = root / "texts.txt"
    found = result("decompose", root / "model", root / ranks, "--texts", texts, "--parameters", "20k", "--ranks", ranks)
    (level,) = found["levels"]
    assert 17_500 < level["parameters"] <= 20_000
    stored = load_file(root / ranks / "model.safetensors")
    assert level["parameters"] == sum(value.numel() for value in stored.values())


def test_members_are_counted_without_loading_them(family: Path, result: Any) -> None:
    from aiflow.collaboration.familial.family import Family, Member

    loaded = Family.from_pretrained(family)
    found = result("members", family)["members"]
    assert [(row["exit"], row["parameters"]) for row in found] == [(m.exit, n) for m, n in loaded.members()]
    assert found[-1]["share"] == 1
    assert all(4 * row["parameters"] < row["bytes"] < 4.6 * row["parameters"] for row in found)  # and the header
    chosen = result("members", family, "--parameters", found[1]["parameters"] - 200)["chosen"]
    assert found[1]["parameters"] - 300 < chosen["parameters"] <= found[1]["parameters"] - 200
    assert loaded.count(Member.parse(chosen["member"])) <= chosen["parameters"]


def test_members_within_memory_and_time(family: Path, root: Path, result: Any) -> None:
    whole = result("members", family)["members"][-1]
    assert result("members", family, "--memory", "1GB")["chosen"]["member"] == "4"
    assert result("members", family, "--memory", f"{4 * whole['parameters'] - 1} B")["chosen"]["member"] != "4"
    timed = result("members", family, "--latency", "10s")["chosen"]
    assert timed["member"] == "4"
    assert 0 < timed["seconds_per_token"] < 10
    assert result("members", root / "model", "--parameters", "20k")["chosen"]["parameters"] <= 20_000


def test_training_improves_the_branches_and_continues(family: Path, root: Path, result: Any, run: Any) -> None:
    texts = root / "texts.txt"
    args = ("train", family, root / "trained", "--texts", texts, "--steps", 20, "--lr", 0.01, "--storage", "float32")
    trained = result(*args, "--partial", "2:0.5")
    assert [row["member"] for row in trained["members"]] == ["1", "2:0.5", "2"]
    assert trained["step"] == 20
    before, after = (result("eval", folder, "--texts", texts)["members"] for folder in (family, root / "trained"))
    for one, other in zip(before, after, strict=True):
        if one["line"] == "branch":
            assert other["bits"] < one["bits"]
        else:
            assert other["bits"] == pytest.approx(one["bits"])  # the backbone is frozen
    code, _, err = run(*args, "--partial", "2:0.5")
    assert code == 0
    assert "step" not in err  # everything was done: nothing is trained again
    code, _, err = run(*args, "--seed", 1)
    assert code == 2
    assert "--no-resume" in err


@pytest.mark.parametrize("mode", ["lora", "full"])
def test_training_the_backbone_too(family: Path, root: Path, result: Any, mode: str) -> None:
    out, texts = root / mode, root / "texts.txt"
    more = ("--lora-rank", 4, "--select", "round-robin", "--per-step", 2, "--storage", "float32")
    result("train", family, out, "--texts", texts, "--steps", 3, "--lr", 0.01, "--mode", mode, *more)
    old, new = (load_file(folder / "model.safetensors") for folder in (family, out))
    assert old.keys() == new.keys()
    assert not torch.equal(*(w["backbone.model.layers.0.mlp.up_proj.weight"] for w in (old, new)))


def test_eval_measures_and_draws(family: Path, root: Path, result: Any) -> None:
    plot = root / "figures" / "fig9.png"
    found = result("eval", family, "--texts", root / "texts.txt", "--plot", plot)
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert [(r["line"], r["member"]) for r in found["members"]] == [
        ("early exit", "1:0"), ("early exit", "2:0"), ("branch", "1"), ("branch", "2"), ("full", "4"),
    ]  # fmt: skip
    assert found["tokens"] == sum(len(line) - 1 for line in LINES)
    full = found["members"][-1]
    assert full["perplexity"] == pytest.approx(2 ** full["bits"])
    assert full["bits"] == pytest.approx(_bits(root), rel=1e-4)


def _bits(root: Path) -> float:
    """The same by the model's own loss, a text at a time."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(root / "model")
    tokenizer = AutoTokenizer.from_pretrained(root / "model")
    nats = 0.0
    for line in LINES:
        ids = tokenizer(line, return_tensors="pt")["input_ids"]
        with torch.no_grad():
            nats += float(model(ids, labels=ids).loss) * (ids.shape[1] - 1)
    return nats / sum(len(line) - 1 for line in LINES) / float(torch.tensor(2.0).log())


def test_texts_in_every_form(tmp_path: Path) -> None:
    from aiflow.families.inputs import texts

    (tmp_path / "a.txt").write_text("one\ntwo\n")
    (tmp_path / "b.txt").write_text("one\nmore\n\n two\n")
    (tmp_path / "c.jsonl").write_text('{"text": "one"}\n\n{"text": "two"}\n')
    assert texts(tmp_path / "a.txt") == texts(tmp_path / "c.jsonl") == ["one", "two"]
    assert texts(tmp_path / "b.txt") == ["one\nmore", "two"]


BAD = {
    "exit out of range": (["branch", "{model}", "{out}", "--exits", "2,4"], "exit 4 is not usable"),
    "exits of letters": (["branch", "{model}", "{out}", "--exits", "two"], "exits='two'"),
    "share out of range": (["branch", "{model}", "{out}", "--exits", "2", "--keep", "1.5"], "keep=1.5"),
    "no rank left": (["branch", "{model}", "{out}", "--exits", "2", "--keep", "0.001"], "no component"),
    "unknown storage": (["branch", "{model}", "{out}", "--exits", "2", "--storage", "int4"], "did you mean 'int8'"),
    "unknown ranks": (["decompose", "{model}", "{out}", "--ranks", "greed"], "did you mean 'greedy'"),
    "level out of range": (["decompose", "{model}", "{out}", "--keep", "0.5,2"], "keep='0.5,2'"),
    "keep and parameters": (["decompose", "{model}", "{out}", "--keep", "0.5", "--parameters", "1k"], "one of them"),
    "too few parameters": (["decompose", "{model}", "{out}", "--parameters", "1k"], "the smallest member has"),
    "too many parameters": (["decompose", "{model}", "{out}", "--parameters", "1B"], "hold the whole model"),
    "overwriting the source": (["decompose", "{model}", "{model}"], "is the source itself"),
    "no folder": (["decompose", "nowhere", "{out}"], "there is no folder 'nowhere'"),
    "unknown nano model": (["decompose", "aiflow:nano/bse", "{out}"], "nano/base"),
    "unsupported architecture": (["decompose", "{gpt}", "{out}"], "'gpt2'"),
    "empty texts": (["decompose", "{model}", "{out}", "--texts", "{empty}"], "holds no text"),
    "missing texts": (["decompose", "{model}", "{out}", "--texts", "nowhere.txt"], "nowhere.txt"),
    "malformed texts": (["decompose", "{model}", "{out}", "--texts", "{malformed}"], "line 2 of"),
    "padding only": (["decompose", "{model}", "{out}", "--texts", "{padding}"], "padding only"),
    "padding only for a branch": (["branch", "{model}", "{out}", "--exits", "2", "--texts", "{padding}"], "padding"),
    "cut-short weights": (["decompose", "{cut}", "{out}"], "cut short"),
    "decomposing a family": (["decompose", "{family}", "{out}"], "give the plain model"),
    "training a plain model": (["train", "{model}", "{out}"], "does not describe a family"),
    "unknown mode": (["train", "{family}", "{out}", "--mode", "lroa"], "did you mean 'lora'"),
    "unknown selection": (["train", "{family}", "{out}", "--select", "al"], "did you mean 'all'"),
    "too many per step": (["train", "{family}", "{out}", "--select", "random", "--per-step", "9"], "9 of 2 members"),
    "partial of nothing": (["train", "{family}", "{out}", "--partial", "3:0.5"], "its exits are 1, 2, 4"),
    "partial too large": (["train", "{family}", "{out}", "--partial", "2:0.9"], "keep=0.9"),
    "budget too small": (["members", "{family}", "--parameters", "100"], "the smallest member is exit 1"),
    "memory too small": (["members", "{family}", "--memory", "1KB"], "the smallest member is exit 1"),
    "two budgets": (["members", "{family}", "--parameters", "1M", "--memory", "1GB"], "give one of them"),
    "budget of letters": (["members", "{family}", "--parameters", "many"], "'many' is not a quantity"),
    "unknown plot": (["eval", "{family}", "--plot", "x.gif"], "plot suffix='.gif'"),
    "converting a plain model": (["convert", "{model}", "{out}"], "'llama' config"),
}


@pytest.fixture(scope="module")
def places(root: Path, family: Path) -> dict[str, str]:
    """What the bad calls name."""
    for name in ("gpt", "cut"):
        (root / name).mkdir()
    (root / "gpt" / "config.json").write_text('{"model_type": "gpt2"}')
    for path in (root / "model").iterdir():
        data = path.read_bytes()
        (root / "cut" / path.name).write_bytes(data[:-9000] if path.suffix == ".safetensors" else data)
    (root / "empty.txt").write_text("\n \n")
    (root / "padding.txt").write_text("<pad><pad>\n<pad>")
    (root / "malformed.jsonl").write_text('{"text": "one"}\n{"txt": "two"}\n')
    files = {"empty": "empty.txt", "padding": "padding.txt", "malformed": "malformed.jsonl"}
    found = {name: root / file for name, file in files.items()}
    found |= {"model": root / "model", "family": family, "gpt": root / "gpt", "cut": root / "cut", "out": root / "out"}
    return {name: str(path) for name, path in found.items()}


@pytest.mark.parametrize("name", BAD)
def test_user_errors_are_one_line_and_exit_2(name: str, places: dict[str, str], root: Path, run: Any) -> None:
    args, words = BAD[name]
    args = [arg.format(**places) for arg in args]
    if args[0] not in ("members", "convert") and "--texts" not in args:
        args += ["--texts", str(root / "texts.txt")]
    code, _, err = run(*args)
    said = [line for line in err.splitlines() if line.startswith("aiflow: ")]
    assert code == 2, err
    assert words in said[-1]
    assert "Traceback" not in err
    assert not re.search(r"\n\S", err.split("aiflow: ", 1)[1].strip())
    assert not (root / "out" / "model.safetensors").exists()
