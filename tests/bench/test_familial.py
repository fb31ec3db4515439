"""``aiflow bench familial``: the choice of members by size, ratios and their intervals, JSON and figures."""

import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from aiflow.bench import familial
from aiflow.bench.familial import eesb, hpcd
from aiflow.bench.familial.eesb import Size, Study
from aiflow.bench.familial.estimates import over_seeds, tabulate
from aiflow.bench.familial.exam import Exam, remembered
from aiflow.collaboration.familial.branch import Branch, low_rank_block
from aiflow.collaboration.familial.decompose import decompose
from aiflow.collaboration.familial.factor import factor, plain
from aiflow.collaboration.familial.family import Family, Member
from aiflow.collaboration.familial.kinds import LINEARS, get_linear, parts
from aiflow.collaboration.familial.nested import Level
from aiflow.errors import InputError, UnknownModelError, UsageError
from aiflow.nano import WEIGHTS
from aiflow.nano.family import evaluate, model
from aiflow.nano.visual.questions import FORMS, GENERAL

SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 4,
    "intermediate_size": 48,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "tie_word_embeddings": True,
}
TOWER = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2}
KINDS = {"bare": 0, "branch": None, "part": 0.5, "full": None}


def text_model(seed: int) -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    return LlamaForCausalLM(LlamaConfig(vocab_size=1536, **SIZES)).eval()


def tiny_family(seed: int) -> Family:
    """An untrained family of 4 blocks with branches at the exits 1 and 2."""
    family = Family(model.build(text_model(seed), model.build_tower(seed, **TOWER), seed))
    for exit_ in (1, 2):
        block = parts(family.backbone).text.layers[exit_]
        weights = {name: get_linear(block, name).weight.detach() for name in LINEARS}
        factors = {name: factor(w, plain(w.shape[1])) for name, w in weights.items()}
        family.add(exit_, Branch([low_rank_block(block, factors, dict.fromkeys(LINEARS, 14), exit_)]))
    return family.eval()


def study(scores: Sequence[tuple[str, int, float]], seeds: int = 1, items: int = 200) -> Study:
    """Members of a kind, a size and a score on every form."""
    sizes = [
        Size(member=Member(exit=n, keep=KINDS[kind]), kind=kind, parameters=parameters)
        for n, (kind, parameters, _) in enumerate(scores, 1)
    ]
    marks = [{form: [float(i < share * items) for i in range(items)] for form in FORMS} for *_, share in scores]
    return Study(sizes=tuple(sizes), table=tabulate(marks * seeds, draws=1000), seeds=seeds)


# Bare exits reach .5 at 600 and .8 at 800; a branch of 450 has .7; the full model .9.
LADDER = (
    ("bare", 300, 0.2),
    ("branch", 400, 0.8),
    ("part", 450, 0.7),
    ("branch", 460, 0.85),
    ("bare", 600, 0.5),
    ("bare", 800, 0.8),
    ("full", 1000, 0.9),
)


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return familial.read_tokenizer(WEIGHTS / "base")


def test_the_member_is_chosen_by_size_alone() -> None:
    made = study(LADDER)
    assert eesb.choose(made, 0.45) == 2  # not the better one of 400 parameters, and not the bare exits
    assert eesb.choose(made, 0.46) == 3
    assert eesb.choose(made, 0.39) is None


def test_an_early_exit_is_the_smallest_that_reaches_the_score() -> None:
    found = eesb.early_exit(study(LADDER), 2, GENERAL)
    assert (found["parameters"], found["below_full"], found["met"]) == (800, True, True)
    assert found["ratio"] == pytest.approx(800 / 450)
    assert found["between"] == pytest.approx((600 + 200 * 2 / 3) / 450)
    beyond = eesb.early_exit(study(LADDER), 3, GENERAL)
    assert (beyond["parameters"], beyond["below_full"]) == (1000, False)
    easy = eesb.early_exit(study([("bare", 300, 0.7), ("branch", 400, 0.7), ("full", 1000, 0.9)]), 1, GENERAL)
    assert easy["ratio"] == easy["between"] == 0.75
    assert not easy["met"]


def test_the_report_has_what_it_promises() -> None:
    found = eesb.report(study(LADDER, seeds=3), 200)
    head = found["eesb"]
    assert (head["member"], head["parameter_share"], head["seeds"]) == ("3:0.5", 0.45, 3)
    assert head["relative_accuracy"] == pytest.approx(0.7 / 0.9)
    assert head["ci"][0] < 0.7 / 0.9 < head["ci"][1]
    assert head["seeds_ci"] == [round(0.7 / 0.9, 4)] * 2  # equal seeds
    assert not head["met"]
    assert head["all_forms"]["parameter_share"] == 0.46
    assert [row["parameter_share"] for row in head["members"]] == [n / 1000 for _, n, _ in LADDER]
    base = sum(head["chance"][form] for form in GENERAL) / len(GENERAL)
    corrected = head["members"][2]["chance_corrected"]["general"]["value"]
    assert corrected == pytest.approx((0.7 - base) / (0.9 - base))
    assert found["early_exit"]["ratio"] == pytest.approx(800 / 450)
    assert found["early_exit"]["all_forms"]["for"] == "4"


def test_nothing_is_claimed_where_nothing_fits() -> None:
    found = eesb.report(study([("branch", 900, 0.9), ("full", 1000, 0.0)]), 200)
    assert found["eesb"]["relative_accuracy"] is None
    assert found["eesb"]["all_forms"] is None
    assert found["early_exit"] == {"all_forms": None}
    assert found["eesb"]["members"][0]["relative"]["general"] is None  # of a full model that knows nothing
    eesb.show(found)


def test_ratios_are_paired() -> None:
    rng = np.random.default_rng(0)
    one, other = ({form: list(rng.integers(0, 2, 100).astype(float)) for form in ("a", "b")} for _ in range(2))
    table = tabulate([one, one, other])
    same = table.relative([(0, 1)], ["a", "b"])
    assert same is not None
    assert (same.value, same.lo, same.hi) == (1, 1, 1)
    assert table.difference(0, 1, ["a"]).hi == 0
    unpaired = table.relative([(2, 1)], ["a", "b"])
    assert unpaired is not None
    assert unpaired.hi - unpaired.lo > 0.1


def test_items_of_one_picture_are_drawn_together() -> None:
    marks = {"a": [float(x) for x in np.random.default_rng(1).integers(0, 2, 150) for _ in (0, 1)]}
    alone, together = (tabulate([marks], pairs).mean(0, ["a"]) for pairs in ((), ("a",)))
    assert together.value == alone.value
    assert (together.hi - together.lo) / (alone.hi - alone.lo) == pytest.approx(2**0.5, rel=0.1)
    assert alone.hi - alone.lo == pytest.approx(2 * 1.96 * 0.5 / 300**0.5, rel=0.05)
    odd = tabulate([{"a": [1.0, 0.0, 1.0]}], ("a",), draws=50)
    assert odd.average(0, ["a"]) == pytest.approx(2 / 3)


def test_intervals_over_seeds_are_students() -> None:
    found = over_seeds([1.0, 2.0, 3.0])
    assert found is not None
    assert (found.value, found.hi) == (2, pytest.approx(2 + 4.303 / 3**0.5))
    assert over_seeds([1.0]) is None
    with pytest.raises(InputError, match="11 seeds"):
        over_seeds([1.0] * 11)


def test_other_items_are_refused() -> None:
    with pytest.raises(InputError, match="same items"):
        tabulate([{"a": [1.0]}, {"a": [1.0, 0.0]}])


@pytest.mark.parametrize(("scores", "monotone"), [((0.2, 0.4, 0.6), True), ((0.2, 0.6, 0.4), False)])
def test_low_rank_members_are_compared_in_order(scores: tuple[float, ...], monotone: bool) -> None:
    levels = [Level(name=str(k), ranks={}, parameters=n, bytes=n) for k, n in enumerate((300, 600, 1000), 1)]
    marks = [{"a": [float(i < share * 50) for i in range(50)], "b": [1.0] * 50} for share in (*scores, 0.8)]
    found = hpcd.report(levels, tabulate(marks, draws=200), 1200, 50)
    assert [row["score"] for row in found["hpcd"]] == pytest.approx([(share + 1) / 2 for share in scores])
    assert found["hpcd_summary"]["monotone"] is found["hpcd_summary"]["met"] is monotone
    assert found["hpcd"][0]["share_of_dense"] == 0.25
    assert found["hpcd_summary"]["dense"]["score"] == pytest.approx(0.9)
    hpcd.show(found)


def test_pictures_are_seen_once_and_marks_are_the_evaluations(tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    exam, family = Exam(tokenizer, 2, FORMS[:2]), tiny_family(0)
    prompts = []
    monkeypatch.setattr(evaluate, "answer", lambda *args, **_: prompts.extend(args[2]) or [""] * len(args[2]))
    evaluate.visual(family.backbone, tokenizer, 2, forms=FORMS[:2])
    own = [p for form in exam.prompts.values() for p in form]
    assert [p[0] for p in own] == [p[0] for p in prompts]
    assert all(np.array_equal(a[1], b[1]) for a, b in zip(own, prompts, strict=True))

    calls: list[int] = []
    family.backbone.model.vision_tower.register_forward_hook(lambda *_: calls.append(1))
    found = [member.marks for member in exam.marks(family, [Member(exit=1), Member(exit=2, keep=0), Member(exit=4)])]
    assert len(calls) == 2  # one batch of each form
    assert all(set(marks) == set(FORMS[:2]) for marks in found)
    monkeypatch.undo()
    assert found[2] == evaluate.visual(family.backbone, tokenizer, 2, forms=FORMS[:2])
    assert len(calls) > 2  # the model is as before
    with torch.no_grad():
        images = torch.rand(2, 3, 64, 64)
        before = family.backbone.model.get_image_features(pixel_values=images).pooler_output
        with remembered(family.backbone):
            for _ in range(2):
                inside = family.member(Member(exit=1)).model.get_image_features(pixel_values=images).pooler_output
                assert torch.equal(torch.cat(list(inside)), torch.cat(list(before)))


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory, tokenizer: Any) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("weights")
    for seed in (0, 1):
        tiny_family(seed).save_pretrained(root / f"family{seed}", storage="float32")
        tokenizer.save_pretrained(root / f"family{seed}")
    batches = [(torch.randint(0, 1536, (4, 12)), None)]
    decompose(text_model(0), root / "hpcd", batches, levels=(0.2, 0.4, 0.6, 0.8))
    tokenizer.save_pretrained(root / "hpcd")
    return {path.name: path for path in root.iterdir()}


def test_the_command_ends_with_one_object_and_draws(
    folders: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluate, "answer", answers := Answers())
    monkeypatch.setattr("aiflow.bench.familial.exam.answer", answers)
    familial.main(
        parts=["hpcd", "eesb", "capacity"],
        limit=4,
        family=[folders["family0"], folders["family1"]],
        hpcd=folders["hpcd"],
        plots=tmp_path / "plots",
        json=True,
    )
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert {"eesb", "early_exit", "hpcd", "capacity", "run"} <= set(found)
    assert {"relative_accuracy", "parameter_share", "members"} <= set(found["eesb"])
    kinds = [row["kind"] for row in found["eesb"]["members"]]
    assert (kinds.count("branch"), kinds.count("bare"), kinds.count("part"), kinds[-1]) == (2, 3, 2, "full")
    assert len(found["eesb"]["members"][0]["scores"]["all"]["by_seed"]) == 2
    assert [set(row) >= {"parameters", "score"} for row in found["hpcd"]] == [True] * 4
    sizes = [row["parameters"] for row in found["capacity"]["hpcd"]]
    assert sizes == sorted(sizes) == [row["parameters"] for row in found["hpcd"]]
    assert all(0 < row["bits_per_token"] < 20 for row in found["capacity"]["eesb"])
    names = {path.name for path in (tmp_path / "plots").iterdir()}
    assert names == {f"familial-{part}.{kind}" for part in ("eesb", "hpcd") for kind in ("png", "svg")}


class Answers:
    """Stands for generation: yes, A or 1, whatever is asked; a tiny untrained model says nothing readable."""

    def __init__(self) -> None:
        self.said = itertools.cycle(("yes", "A", "1", "no", "B"))

    def __call__(self, _model: Any, _tokenizer: Any, prompts: Sequence[Any], *, limit: int) -> list[str]:
        assert limit >= 8
        return [next(self.said) for _ in prompts]


def test_what_is_not_there_is_named(folders: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(UnknownModelError, match="aiflow train family"):
        familial.main(parts=["eesb"], family=[tmp_path])
    with pytest.raises(UnknownModelError, match="low-rank members"):
        familial.main(parts=["capacity"], family=[folders["family0"]], hpcd=tmp_path)
    with pytest.raises(UsageError, match="did you mean 'eesb'"):
        familial.main(parts=["esb"])
    with pytest.raises(InputError, match="half a dialogue"):
        hpcd.run(folders["hpcd"], 1)
