"""The lm-evaluation-harness adapter: its requests as ours, log-likelihoods, errors, and real runs where it is there."""

import importlib.util
import itertools
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from aiflow.agents import backends
from aiflow.agents.backends.transformers.requests import Prompt
from aiflow.agents.decoding.speaker import Speaker
from aiflow.bench import harness
from aiflow.bench.harness import requests as forms
from aiflow.bench.harness.adapter import Adapter
from aiflow.bench.harness.scoring import Scorer, split, windows
from aiflow.bench.harness.subjects import scorer_of, subject_of
from aiflow.bench.nano.team import Team
from aiflow.bench.suite import Reply, Sample
from aiflow.errors import BackendError, BudgetSpentError, InputError
from aiflow.types import Message, Options

there = importlib.util.find_spec("lm_eval") is not None
needs_library = pytest.mark.skipif(not there, reason="lm_eval is not installed")


@dataclass
class Asked:
    """An ``Instance`` as far as models see it."""

    args: tuple[Any, ...]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, Options()),
        ({"until": "\n"}, Options(stop=("\n",))),
        ({"until": ["a", "", "a", "b"], "max_gen_toks": 7}, Options(stop=("a", "b"), max_tokens=7)),
        ({"do_sample": False, "temperature": 0.8, "top_p": 0.9, "top_k": 5}, Options()),
        ({"temperature": 0.8, "top_p": 0.9, "seed": 3}, Options(temperature=0.8, top_p=0.9, seed=3)),
        ({"do_sample": True}, Options(temperature=1.0)),
        ({"temperature": 0.0, "num_beams": 1}, Options()),
    ],
)
def test_settings_become_options(settings: dict[str, Any], expected: Options) -> None:
    assert forms.options(settings) == (expected, expected.stop)


@pytest.mark.parametrize("settings", [{"num_beams": 4}, {"temperature": 1, "top_k": 5}, {"logits": 1}, {"until": [1]}])
def test_settings_that_would_be_lost_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=next(reversed(settings))):
        forms.options(settings)


def test_contexts_become_conversations() -> None:
    assert forms.messages("Q: 1+1?") == (Message("user", "Q: 1+1?"),)
    turns = [{"role": "system", "content": "brief"}, {"role": "user", "content": "1+1? {}é"}]
    packed = forms.pack(turns)
    assert forms.messages(packed) == (Message("system", "brief"), Message("user", "1+1? {}é"))
    assert forms.messages(packed + " A:")[-1].text == "1+1? {}é A:"
    with pytest.raises(InputError, match="empty"):
        forms.messages(" ")


@given(st.text("ab.\n", max_size=12), st.lists(st.sampled_from(["a", ".", "\n\n", "ba"]), max_size=3))
def test_an_answer_ends_at_the_first_stop(text: str, until: list[str]) -> None:
    found = forms.cut(text, until)
    assert text.startswith(found)
    assert not any(end in found for end in until)
    assert found == text or any(text[len(found) :].startswith(end) for end in until)


@given(st.integers(0, 40), st.integers(1, 9))
def test_windows_score_every_token_once(count: int, size: int) -> None:
    tokens = list(range(1, count + 1))
    found = list(windows(tokens, 0, size))
    assert [token for _, after in found for token in after] == tokens
    for before, after in found:
        assert len(before) + len(after) <= size + 1
        assert [*before, *after] == list(range(after[0] - len(before), after[-1] + 1))
    if len(found) > 1:
        assert all(len(before) + len(after) == size + 1 for before, after in found)


def letters(text: str) -> list[int]:
    """A tokenizer of letters that joins a space to the letter behind it."""
    return [ord(c) % 8 + 8 * (n > 0 and text[n - 1] == " ") for n, c in enumerate(text) if c != " "]


def test_spaces_at_the_end_of_a_context_belong_to_the_answer() -> None:
    assert split(letters, "ab  ", "c") == split(letters, "ab", "  c") == (letters("ab"), [ord("c") % 8 + 8])
    assert split(letters, " ", "bc") == (letters(" b"), letters("c"))


class Letters:
    """A tokenizer and prompter over 16 tokens; 15 begins a text."""

    bos_token_id, bos_token = 15, "^"

    @property
    def tokenizer(self) -> "Letters":
        return self

    def __call__(self, text: Any, add_special_tokens: bool = True, verbose: bool = True) -> Any:
        del verbose
        if not isinstance(text, str):
            return Prompt(ids=[9, *letters(text[-1].text)], extra={}, stop=())
        return {"input_ids": [15] * add_special_tokens + letters(text)}


class Table:
    """Logits from a fixed random table of the last two tokens."""

    def __init__(self) -> None:
        self.table = torch.randn(16, 16, 16, generator=torch.Generator().manual_seed(0))
        self.longest = 0

    def read(self, asked: Sequence[Any]) -> list[torch.Tensor]:
        (one,) = asked
        self.longest = max(self.longest, len(one.tokens))
        rows = [self.law(one.tokens[: n + 1]) for n in range(len(one.tokens) - one.rows, len(one.tokens))]
        return [torch.stack(rows)]

    def law(self, tokens: Sequence[int]) -> torch.Tensor:
        return self.table[tokens[-2] if len(tokens) > 1 else 0, tokens[-1]]

    def close(self, session: int) -> None:
        del session

    def chance(self, before: Sequence[int], after: Sequence[int]) -> float:
        """Token by token, by hand."""
        every = [*before, *after]
        laws = [torch.softmax(self.law(every[:n]), 0)[every[n]] for n in range(len(before), len(every))]
        return sum(math.log(float(p)) for p in laws)


@pytest.fixture
def scorer() -> Scorer:
    table, letters = Table(), Letters()
    return Scorer(
        Speaker(
            engine=table, prompt=letters, images=lambda *_: {}, decode=str, ends=frozenset({3}), silent=(), context=12,
            vocabulary=16, parts={},
        )
    )  # fmt: skip


def test_log_likelihoods_by_hand(scorer: Scorer) -> None:
    table: Any = scorer._speaker.engine
    for context, text in (("ab", "cde"), ("", "cde"), ("abc ", "d")):
        before = [15, *letters(context)]
        after = letters(context + text)[len(before) - 1 :]
        assert scorer.continuation(context, text)[0] == pytest.approx(table.chance(before, after), abs=1e-5)
    chat = scorer.continuation([Message("user", "ab")], "cd")[0]
    assert chat == pytest.approx(table.chance([9, *letters("ab")], letters("cd")), abs=1e-5)
    whole = scorer.whole("abcdefgab")
    assert whole == pytest.approx(table.chance([15], letters("abcdefgab")), abs=1e-5)


def test_the_greedy_continuation_is_told(scorer: Scorer) -> None:
    table: Any = scorer._speaker.engine
    best = int(table.law([15, *letters("ab")]).argmax())
    for letter in "abcdefgh":
        assert scorer.continuation("ab", letter)[1] == (letters(letter)[0] == best)


def test_long_contexts_lose_their_beginning(scorer: Scorer) -> None:
    table: Any = scorer._speaker.engine
    assert scorer.continuation("ab" * 30, "cd") == scorer.continuation("ba" * 4 + "ab" * 20, "cd")
    assert scorer.whole("abcdefg" * 5) < 0
    assert table.longest == 12
    for text in ("", "a" * 13):
        with pytest.raises(InputError, match="tokens"):
            scorer.continuation("ab", text)


class Says:
    """A subject that answers by a function and remembers how it was asked."""

    name = "says"

    def __init__(self, say: Callable[[str], str]) -> None:
        self.say = say
        self.options: list[Options | None] = []

    async def reply(self, talk: Sequence[Message], sample: Sample | None = None) -> Reply:
        self.options.append(sample and sample.options)
        return Reply(text=self.say(talk[-1].text))


def test_generation_keeps_order_and_stops() -> None:
    says = Says(lambda text: f"{text}! and more")
    adapter = Adapter(says, parallel=2)
    settings = {"until": [" and"], "max_gen_toks": 9}
    found = adapter.generate_until([Asked((f"q{n}", settings)) for n in range(5)])
    assert found == [f"q{n}!" for n in range(5)]
    assert set(says.options) == {Options(max_tokens=9, stop=(" and",))}
    assert adapter.counts == {"requests": 5}


def test_errors_and_deadlines_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    def fail(text: str) -> str:
        if text == "q1":
            raise BackendError("cannot")
        return text

    adapter = Adapter(Says(fail))
    assert adapter.generate_until([Asked((f"q{n}", {})) for n in range(3)]) == ["q0", "", "q2"]
    assert (adapter.counts["errors"], adapter.first_error) == (1, "BackendError: cannot")
    assert "cannot" in capsys.readouterr().err
    slow = Adapter(subject_of("scripted:late", delay=30.0), deadline=0.05)
    assert slow.generate_until([Asked(("q", {}))]) == [""]
    assert slow.first_error.startswith("DeadlineError")


def test_a_spent_budget_ends_the_run() -> None:
    def spend(text: str) -> str:
        raise BudgetSpentError(text)

    with pytest.raises(BudgetSpentError):
        Adapter(Says(spend)).generate_until([Asked(("q", {})), Asked(("r", {}))])


def test_agents_and_graphs_generate_but_do_not_score(team: Team) -> None:
    from aiflow.graphs import device_server

    graph = device_server(team.server, list(team.devices), select=2, revise=False)
    for who in (team.devices[3], graph):
        adapter = Adapter(subject_of(who))
        assert adapter.generate_until([Asked(("q3 t0", {}))]) == ["a3.0"], adapter.first_error
        for ask in (adapter.loglikelihood, adapter.loglikelihood_rolling):
            with pytest.raises(InputError, match="mmlu_generative"):
                ask([Asked(("context", " A"))])


def test_a_graph_of_messages() -> None:
    class Plain:
        name = "plain"

        async def ainvoke(self, state: dict[str, Any], how: dict[str, Any]) -> dict[str, Any]:
            last = state["messages"][-1]["content"]
            told = {"role": "assistant", "content": f"{last} {how['configurable']['options'].max_tokens}"}
            return {"messages": [*state["messages"], *([told] if last != "mute" else [])]}

    adapter = Adapter(subject_of(Plain()))
    assert adapter.generate_until([Asked(("hi", {"max_gen_toks": 3})), Asked(("mute", {}))]) == ["hi 3", ""]
    assert "plain" in adapter.first_error


def test_bad_arguments() -> None:
    with pytest.raises(InputError, match="model string"):
        subject_of(3)
    with pytest.raises(InputError, match="threads"):
        subject_of(Says(str), threads=1)
    with pytest.raises(InputError, match="parallel=0"):
        Adapter(Says(str), parallel=0)
    with pytest.raises(InputError, match="gen_prefix"):
        Adapter(Says(str)).apply_chat_template([], add_generation_prompt=False)


@pytest.mark.skipif(there, reason="lm_eval is installed")
def test_without_the_library_the_extra_is_named() -> None:
    with pytest.raises(InputError, match=r"aiflow\[lm-eval\]"):
        harness.run(["gsm8k"], Says(str))


def test_the_small_model_scores_its_own_answer_highest() -> None:
    subject = subject_of("aiflow:nano/math")
    scorer = scorer_of(subject)
    assert scorer is not None
    talk = [Message("user", "Calculate 8 x 8.")]
    (right, greedy), (wrong, _) = (scorer.continuation(talk, f"8 x 8 = {n}") for n in (64, 65))
    assert greedy
    assert right > wrong + 3
    assert Adapter(subject).generate_until([Asked(("Calculate 8 x 8.", {}))]) == ["8 x 8 = 64"]


TASKS = {
    "choice": {
        "output_type": "multiple_choice",
        "doc_to_text": "{{question}}\nAnswer:",
        "doc_to_choice": ["A", "B"],
        "doc_to_target": "{{label}}",
        "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
    },
    "says": {
        "output_type": "generate_until",
        "doc_to_text": "{{question}}",
        "doc_to_target": "{{answer}}",
        "generation_kwargs": {"until": ["."], "do_sample": False, "max_gen_toks": 24},
        "metric_list": [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}],
    },
}


@pytest.fixture
def tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Task files with their data, which need no network."""
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    pairs = [(5, 7), (8, 8), (6, 2)]
    rows = [{"question": f"Calculate {a} x {b}.", "answer": f"{a} x {b} = {a * b}", "label": 0} for a, b in pairs]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    where = {"dataset_path": "json", "dataset_kwargs": {"data_files": {"test": str(tmp_path / "rows.jsonl")}}}
    folder = tmp_path / "tasks"
    folder.mkdir()
    for name, task in TASKS.items():  # JSON is YAML
        (folder / f"{name}.yaml").write_text(
            json.dumps({"task": f"tiny_{name}", "test_split": "test", **where, **task})
        )
    return folder


@needs_library
def test_a_real_run_of_the_library(tasks: Path, tmp_path: Path) -> None:
    found = harness.run(["tiny_choice", "tiny_says"], "aiflow:nano/math", include_path=tasks, out=tmp_path / "out")
    assert found["results"]["tiny_says"]["exact_match,none"] == 1.0
    assert 0 <= found["results"]["tiny_choice"]["acc,none"] <= 1
    assert found["aiflow"] == {"requests": 9, "errors": 0, "first_error": ""}
    written = sorted(path.name.split("_20")[0] for path in (tmp_path / "out").rglob("*.json*"))
    assert written == ["results", "samples_tiny_choice", "samples_tiny_says"]


@needs_library
def test_few_shot_examples_are_turns_of_a_conversation(tasks: Path) -> None:
    talks: list[int] = []

    class Talks(Says):
        async def reply(self, talk: Sequence[Message], sample: Sample | None = None) -> Reply:
            talks.append(len(talk))
            return await super().reply(talk, sample)

    says = Talks(lambda _: "8 x 8 = 64.")
    found = harness.run(["tiny_says"], says, include_path=tasks, chat=True, few_shot=1, limit=2)
    assert found["results"]["tiny_says"]["exact_match,none"] in (0.0, 0.5)
    assert talks == [3, 3]


@needs_library
def test_unknown_tasks_and_tasks_that_need_logits(tasks: Path) -> None:
    with pytest.raises(InputError, match="tiny_nothing"):
        harness.run(["tiny_nothing"], Says(str), include_path=tasks)
    with pytest.raises(InputError, match="no logits"):
        harness.run(["tiny_choice"], Says(str), include_path=tasks)


@needs_library
def test_scores_equal_those_of_the_librarys_own_model() -> None:
    from aiflow import nano

    reference = pytest.importorskip("lm_eval.models.huggingface")
    base, adapter = nano.resolve("nano/math")
    theirs = reference.HFLM(pretrained=str(base), peft=str(adapter), device="cpu", dtype="float32", batch_size=1)
    ours = harness.model("aiflow:nano/math")
    asked = [
        Asked(pair) for pair in itertools.product(("Add 3 + 4\nAnswer:", "", "so  ", "w " * 1500), (" A", "7 = 7"))
    ]
    found, due = ours.loglikelihood(asked), theirs.loglikelihood(asked, disable_tqdm=True)
    assert [greedy for _, greedy in found] == [greedy for _, greedy in due]
    assert [x for x, _ in found] == pytest.approx([x for x, _ in due], abs=2e-3)
    whole = [Asked(("Calculate 5 x 7.",)), Asked(("word " * 900,))]
    assert ours.loglikelihood_rolling(whole) == pytest.approx(
        theirs.loglikelihood_rolling(whole, disable_tqdm=True), rel=1e-5
    )
    assert backends.kind("aiflow:nano/math") == "transformers"
