"""The parts of ``aiflow bench familial`` that need no shipped weights: SVD without training, memory, serving."""

import json
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

from aiflow.bench.familial import memory, serving, svd
from aiflow.collaboration.familial.branch import Branch, low_rank_block
from aiflow.collaboration.familial.factor import factor, plain
from aiflow.collaboration.familial.family import Family, Member
from aiflow.collaboration.familial.kinds import LINEARS, get_linear, parts
from aiflow.errors import AiflowError, InputError, UsageError

SIZES = {
    "vocab_size": 50,
    "hidden_size": 32,
    "num_hidden_layers": 6,
    "intermediate_size": 48,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "tie_word_embeddings": True,
}
IMAGE = 49


def llama() -> Any:
    import transformers as hf

    torch.manual_seed(0)
    model = hf.LlamaForCausalLM(hf.LlamaConfig(**SIZES))
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(8 if p.ndim == 2 else 1)
    return model.eval()


@pytest.fixture(scope="module")
def family() -> Family:
    """A random vision language model of six blocks with branches at five exits."""
    import transformers as hf

    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2}
    vision = hf.CLIPVisionConfig(**sizes, image_size=16, patch_size=8)
    config = hf.LlavaConfig(
        text_config=hf.LlamaConfig(**SIZES),
        vision_config=vision,
        image_token_id=IMAGE,
        image_seq_length=4,
        vision_feature_layer=-1,
        tie_word_embeddings=True,
    )
    made = Family(hf.LlavaForConditionalGeneration(config).eval())
    for exit_ in range(1, 6):
        block = parts(made.backbone).text.layers[exit_]
        factors = {n: factor(w := get_linear(block, n).weight, plain(w.shape[1])) for n in LINEARS}
        made.add(exit_, Branch([low_rank_block(block, factors, dict.fromkeys(LINEARS, 8), exit_)]))
    return made.eval()


def prompts(count: int) -> list[dict[str, torch.Tensor]]:
    random = torch.Generator().manual_seed(1)
    return [
        {
            "input_ids": torch.cat(
                [torch.full((1, 4), IMAGE), torch.randint(1, 48, (1, 3 + i), generator=random)], dim=1
            ),
            "pixel_values": torch.randn(1, 3, 16, 16, generator=random),
        }
        for i in range(count)
    ]


def texts(count: int, seed: int) -> list[svd.Batch]:
    ids = torch.randint(1, 50, (count, 4, 24), generator=torch.Generator().manual_seed(seed))
    real = torch.ones(4, 24, dtype=torch.bool)
    real[0, 20:] = False
    return [svd.Batch(ids_BT=x, real_BT=real, learned_BT=real & (torch.arange(24) > 12)) for x in ids]


def test_svd_table_has_every_method_and_leaves_the_model_alone(capsys) -> None:
    model = llama()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    result = json.loads(json.dumps(svd.measure(model, texts(4, 1), texts(2, 2), (20, 60, 90))))
    assert [row["budget"] for row in result["budgets"]] == [20, 60, 90]
    assert all(
        row[method]["all"] > 0 and row[method]["learned"] > 0 for row in result["budgets"] for method in svd.METHODS
    )
    assert result["parameters"] == 6 * (32 * 32 * 2 + 16 * 32 * 2 + 3 * 32 * 48)
    assert result["held_out_tokens"] == 2 * (4 * 23 - 4)
    assert model.state_dict().keys() == before.keys()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    svd.show(result)
    assert "90 %" in capsys.readouterr().out


def test_svd_budgets_are_kept_and_full_ranks_change_nothing() -> None:
    from aiflow.collaboration.familial.ranks import params

    model, seen = llama(), texts(4, 1)
    with torch.no_grad():
        forms = svd.Forms(model, seen)
        found = svd._ranks(forms, 40, {x.name: 1.0 for x in forms.matrices})
        spent = {method: params(forms.matrices, ranks) for method, (_, ranks) in found.items()}
        assert max(spent.values()) <= 0.4 * forms.total
        assert spent["budgeted"] >= spent["uniform"]
        assert found["budgeted"] == found["relative"]  # equal sensitivities
        whole, full = svd.perplexity(model, seen), {x.name: x.full_rank for x in forms.matrices}
        for white in (True, False):
            with forms.installed(white, full):
                assert svd.perplexity(model, seen)["all"] == pytest.approx(whole["all"], rel=1e-3)
            with forms.installed(white, dict.fromkeys(full, 1)):
                assert svd.perplexity(model, seen)["all"] != pytest.approx(whole["all"], rel=1e-2)


def test_a_matrix_that_the_model_does_not_use_is_not_sensitive() -> None:
    model, seen = llama(), texts(2, 1)
    with torch.no_grad():
        get_linear(model.model.layers[1], "mlp.down_proj").weight.zero_()
        found = svd.sensitivities(svd.Forms(model, seen), seen)
    assert found["1.mlp.up_proj"] == found["1.mlp.gate_proj"] == pytest.approx(0, abs=1e-6)
    assert found["0.mlp.up_proj"] > 1e-3


def test_padding_has_no_part_in_perplexity() -> None:
    model, [batch] = llama(), texts(1, 1)
    with torch.no_grad():
        wanted = svd.perplexity(model, [batch])
        other = svd.Batch(
            ids_BT=batch.ids_BT.masked_fill(~batch.real_BT, 7), real_BT=batch.real_BT, learned_BT=batch.learned_BT
        )
        assert svd.perplexity(model, [other]) == wanted
        loss = model(input_ids=batch.ids_BT[1:], labels=batch.ids_BT[1:]).loss
        three = svd.Batch(ids_BT=batch.ids_BT[1:], real_BT=batch.real_BT[1:], learned_BT=batch.learned_BT[1:])
        assert svd.perplexity(model, [three])["all"] == pytest.approx(float(loss.exp()), rel=1e-4)


def test_svd_refuses_budgets_and_texts_it_cannot_use(tmp_path: Path) -> None:
    class Words:
        def encode(self, text: str, **_options: bool) -> list[int]:
            return list(range(len(text.split())))

        def convert_tokens_to_ids(self, _token: str) -> None:
            return None

    with pytest.raises(InputError, match="percents from 1 to 99"):
        svd.run(budgets=(0, 10))
    with pytest.raises(InputError, match="give a text file"):
        svd.dialogues(Words(), "seed", 1)
    path = tmp_path / "text"
    path.write_text("a " * 600)
    seen, unseen = svd.windows(Words(), path, 1, 1)
    assert seen[0].ids_BT.tolist() == [list(range(256))]
    assert unseen[0].ids_BT.tolist() == [list(range(256, 512))]
    with pytest.raises(InputError, match="600 tokens; 768 are needed"):
        svd.windows(Words(), path, 2, 1)


@pytest.mark.timeout(300)  # a new process imports torch
def test_memory_decomposes_a_small_checkpoint_in_a_process_of_its_own(tmp_path: Path, capsys) -> None:
    found = memory.run(parameters=2.7e6, tokens=256, sizes=((64, 64),), threads=1, folder=tmp_path, deadline=280)
    assert found["parameters"] == pytest.approx(2.7e6, rel=0.1)
    assert found["blocks"] == 2
    assert found["disk"]["source"] == pytest.approx(2 * found["parameters"], rel=0.02)
    assert 0.5 < found["disk"]["decomposed"] / found["disk"]["source"] < 0.9
    assert found["libraries_gb"] <= found["peak_gb"] < 2
    assert found["met"]
    assert {(x["m"], x["n"]): x["count"] for x in found["shapes"]} == {(256, 256): 8, (704, 256): 4, (256, 704): 2}
    assert found["extrapolation"]["seconds"] > found["seconds"]
    assert not list(tmp_path.iterdir())
    json.dumps(found)
    memory.show(found)
    assert "4096 x 11008" in capsys.readouterr().out


def test_extrapolation_follows_the_laws_it_states() -> None:
    config = memory._config(1e9)
    assert (config.hidden_size, config.intermediate_size, config.num_hidden_layers) == (2048, 5632, 17)
    rows = [
        {"m": m, "n": n, "count": 17, "seconds": 2e-9 * m * n * min(m, n), "whitening_seconds": 1e-9 * n**3}
        for m, n in ((2048, 2048), (2048, 5632))
    ]
    spent = 17 * (2e-9 * (2048**3 + 2048**2 * 5632) + 1e-9 * (3 * 2048**3 + 5632**3))
    found = memory.extrapolate({"shapes": rows, "alone": [], "seconds": spent}, config)
    assert found["spread"] == pytest.approx(1)
    assert found["factoring_seconds"] == pytest.approx(32 * 2e-9 * (4 * 4096**3 + 3 * 4096**2 * 11008))
    assert found["whitening_seconds"] == pytest.approx(32 * 1e-9 * (3 * 4096**3 + 11008**3))
    assert found["rest_seconds"] == pytest.approx(0, abs=1e-3)


def test_memory_refuses_what_cannot_work(tmp_path: Path, monkeypatch) -> None:
    with pytest.raises(UsageError, match="not one block"):
        memory.run(parameters=1e5)
    monkeypatch.setattr(memory.shutil, "disk_usage", lambda _path: type("U", (), {"free": 10}))
    with pytest.raises(UsageError, match=r"5.0 GB of disk are needed, 10 B are free"):
        memory.run(parameters=1e9, folder=tmp_path)
    with pytest.raises(AiflowError, match=r"did not end within 0\.01 s"):
        memory._decompose({}, 0.01)


def test_five_exits_served_at_once_say_the_same_bit_by_bit(family: Family, capsys) -> None:
    found = json.loads(json.dumps(serving.run(family, prompts=prompts(4), tokens=5)))
    assert [row["member"] for row in found["members"]] == ["1", "2", "3", "5", "6"] or len(found["members"]) == 5
    assert found["met"]
    assert all(row["equal"] and row["logits_differ"] == 0 for row in found["members"])
    size = found["bytes"]
    assert size["largest"] <= size["shared"] < size["separate"]
    every = {p.data_ptr(): p.numel() * p.element_size() for p in family.parameters()}
    assert size["shared"] <= sum(every.values()) * 1.05
    assert found["together"]["requests_per_s"] > 0
    serving.show(found)
    assert "bit-equal" in capsys.readouterr().out


def test_members_differ_from_each_other_and_comparison_sees_the_last_bit(family: Family) -> None:
    """The negative controls: members do not all say the same, and one changed bit is a difference."""
    given = prompts(2)
    first, last = (serving.answers(family.member(Member(exit=e)), given, 3) for e in (1, 6))
    assert not serving.compare(first, last)["equal"]
    assert serving.compare(first, first) == {"equal": True, "answers_differ": 0, "logits_differ": 0.0}
    moved = [serving.Said(ids=a.ids, logits_TV=a.logits_TV.clone()) for a in first]
    moved[1].logits_TV[2, 7] = torch.nextafter(moved[1].logits_TV[2, 7], torch.tensor(9e9))
    found = serving.compare(first, moved)
    assert not found["equal"]
    assert found["logits_differ"] > 0
    assert found["answers_differ"] == 0


def test_an_exit_that_is_global_would_be_found(family: Family) -> None:
    """The negative control: a model whose exit is a setting of the process answers with whatever was set last."""
    shared = {"exit": 0}
    models = {Member(exit=e): family.member(Member(exit=e)) for e in (1, 6)}

    class Switched:
        def __init__(self, exit_: int) -> None:
            self.exit = exit_

        def generate(self, **given: Any) -> Any:
            shared["exit"] = self.exit
            gate.wait(10)
            return models[Member(exit=shared["exit"])].generate(**given)

    from threading import Barrier

    given, gate = prompts(1), Barrier(1)
    alone = {m: serving.answers(Switched(m.exit), given, 3) for m in models}
    gate = Barrier(2)
    together = serving.at_once({m: Switched(m.exit) for m in models}, given, 3, 60)
    assert not all(serving.compare(alone[m], together[m])["equal"] for m in models)


def test_serving_spreads_and_refuses(family: Family) -> None:
    exits = [m.exit for m in serving.spread(family)]
    assert exits[0] == 1
    assert exits[-1] == 6
    assert len(exits) == 5
    assert all(a < b for a, b in pairwise(exits))
    assert [m.exit for m in serving.spread(family, 9)] == [1, 2, 3, 4, 5, 6]
    with pytest.raises(InputError, match="no prompt"):
        serving.run(family, prompts=[])
    with pytest.raises(InputError, match="give prompts"):
        serving.run(family)
    with pytest.raises(InputError, match="exit 9 is not in this family"):
        serving.run(family, members=[Member(exit=9)], prompts=prompts(1))


def test_serving_waits_for_a_deadline_only(family: Family) -> None:
    class Slow:
        def generate(self, **given: Any) -> Any:
            time.sleep(0.5)
            return family.member(Member(exit=1)).generate(**given)

    with pytest.raises(AiflowError, match="no answers of the members 1"):
        serving.at_once({Member(exit=1): Slow()}, prompts(1), 1, 0.05)


def test_sensitive_matrices_get_the_ranks() -> None:
    from aiflow.collaboration.familial.ranks import Matrix, greedy

    same = torch.linspace(2, 1, 16, dtype=torch.float64)
    pair = [Matrix("a", 16, 16, same), Matrix("b", 16, 16, same)]
    even = greedy(pair, 16 * 32)
    assert even == {"a": 8, "b": 8}
    assert greedy(pair, 16 * 32, weight={"a": 9.0, "b": 1.0}) == {"a": 15, "b": 1}
    for weight in ({"a": 1.0}, {"a": 1.0, "b": -1.0}, {"a": 1.0, "b": float("inf")}):
        with pytest.raises(InputError, match="b has no usable weight"):
            greedy(pair, 16 * 32, weight=weight)
