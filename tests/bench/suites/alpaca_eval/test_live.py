"""AlpacaEval live: how the judge is asked and read, and what a run's records give."""

import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from aiflow.bench.judges.judge import Judge
from aiflow.bench.runner import run
from aiflow.bench.subjects import Recorded
from aiflow.bench.suite import Sample
from aiflow.bench.suites import alpaca_eval
from aiflow.bench.suites.alpaca_eval import data
from aiflow.bench.suites.alpaca_eval.score import switched
from aiflow.bench.suites.alpaca_eval.suite import ByJudge
from aiflow.errors import BackendError, DataError
from aiflow.types import Answer, Message, Options, Usage, conversation

TEMPLATE = (
    Message("system", "You compare."),
    Message("user", "{instruction}\n[m] {output_1}\n[M] {output_2}\nm or M?"),
)


class Says:
    """A judge that gives one answer after another, and remembers what it was asked."""

    name, about, node = "judge", "", "cloud"

    def __init__(self, *answers: Answer) -> None:
        self.answers, self.asked = answers, list[tuple[tuple[Message, ...], Options | None]]()

    async def ask(
        self, messages: Any, *, sender: str | None = None, options: Options | None = None, deadline: float | None = None
    ) -> Answer:
        del sender, deadline
        self.asked.append((conversation(messages), options))
        return self.answers[min(len(self.asked), len(self.answers)) - 1]

    async def stream(self, messages: Any, **how: Any) -> Any:
        yield await self.ask(messages, **how)


def _says(*top: tuple[str, float], text: str = "m") -> Answer:
    return Answer(text=text, usage=Usage(requests=1, completion_tokens=1), logprobs=(top,))


def _sample(turned: bool) -> Sample:
    text = next(text for n in range(99) if switched(text := f"ask {n}") == turned)
    return Sample(id="0", category="koala", turns=(text,), data={"baseline": "theirs"})


@pytest.mark.parametrize("turned", [False, True])
async def test_the_judge_sees_both_outputs_in_the_seeded_order(turned: bool) -> None:
    agent = Says(_says(("m", math.log(0.7)), ("M", math.log(0.1)), ("The", math.log(0.1))))
    sample = _sample(turned)
    grade = await ByJudge(Judge(agent=agent), TEMPLATE)(sample, ["ours {output_2} <|im_end|>"])
    [(talk, options)] = agent.asked
    shown = "[m] ours {output_2} <|im_end|>\n[M] theirs" if turned else "[m] theirs\n[M] ours {output_2} <|im_end|>"
    assert [m.role for m in talk] == ["system", "user"]
    assert talk[1].text == f"{sample.turns[0]}\n{shown}\nm or M?"
    assert options == Options(max_tokens=1, temperature=1.0, top_logprobs=5, seed=0)
    assert grade.score == pytest.approx(87.5 if turned else 12.5)
    [judgment] = grade.judgments
    assert (judgment.verdict, judgment.score) == ("m", grade.score)
    assert judgment.data["order"] == ("model, baseline" if turned else "baseline, model")


async def test_an_unread_judge_is_asked_once_more() -> None:
    agent = Says(_says(("The", -0.1)), _says(("m", math.nan), ("M", -0.1)), _says(("M", -0.1)))
    grade = await ByJudge(Judge(agent=agent), TEMPLATE)(_sample(False), ["ours"])
    assert grade.score is None
    assert grade.judgments[0].verdict == ""
    assert [options and options.seed for _, options in agent.asked] == [0, 1]
    agent = Says(_says(), _says(("M", -0.1), text="M"))
    assert (await ByJudge(Judge(agent=agent), TEMPLATE)(_sample(False), ["ours"])).score == 100


async def test_a_judge_without_probabilities() -> None:
    agent = Says(Answer(text="M"))
    with pytest.raises(BackendError, match=r"no token probabilities.*--variant words"):
        await ByJudge(Judge(agent=agent), TEMPLATE)(_sample(False), ["ours"])
    assert (await ByJudge(Judge(agent=agent), TEMPLATE, words=True)(_sample(False), ["ours"])).score == 100
    assert (await ByJudge(Judge(agent=agent), TEMPLATE, words=True)(_sample(True), ["ours"])).score == 0
    babble = Says(Answer(text="Both"))
    assert (await ByJudge(Judge(agent=babble), TEMPLATE, words=True)(_sample(True), ["ours"])).score is None
    silent = Says(Answer(text=""))
    assert (await ByJudge(Judge(agent=silent), TEMPLATE)(_sample(True), ["ours"])).score is None


async def test_equal_outputs_are_a_draw_and_nobody_is_asked() -> None:
    agent = Says(_says(("m", -0.1)))
    assert (await ByJudge(Judge(agent=agent), TEMPLATE)(_sample(False), ["theirs"])).score == 50
    assert agent.asked == []


async def test_a_run_by_a_judge(nowhere: Path, small: SimpleNamespace) -> None:
    folder = small.write(nowhere, small.columns())
    suite = alpaca_eval.suite(folder, Judge(agent=Says(_says(("m", math.log(0.8)), ("M", math.log(0.2))))))
    assert [sample.id for sample in suite.samples] == [str(n) for n in range(small.rows)]
    said = alpaca_eval.outputs(folder)["one"] | {"3": ("",)}
    del said["5"]
    records = (await run(suite, [Recorded("one", said)]))["one"]
    assert suite.summary
    found = suite.summary(records)
    assert next(iter(found)) == "win_rate"
    turned = sum(switched(s.turns[0]) for s in suite.samples if s.id != "5")
    assert found["win_rate"] == pytest.approx(100 * (0.8 * turned + 0.2 * (small.rows - 1 - turned)) / (small.rows - 1))
    assert (found["errors"], found["n_total"]) == (1, small.rows - 1)
    assert 0 < found["length_controlled_winrate"] < 100


async def test_a_run_by_recorded_judgments_gives_the_recorded_figures(nowhere: Path, small: SimpleNamespace) -> None:
    folder = small.write(nowhere, small.columns())
    suite = alpaca_eval.suite(folder)
    records = (await run(suite, [Recorded("one", alpaca_eval.outputs(folder)["one"])]))["one"]
    assert suite.summary
    found, expected = suite.summary(records), alpaca_eval.recorded(folder)["models"]["one"]
    for name in ("win_rate", "n_wins", "avg_length", "length_controlled_winrate", "C"):
        assert found[name] == pytest.approx(expected[name])
    with pytest.raises(DataError, match="name a judge"):
        await run(suite, [Recorded("other", {sample.id: ("x",) for sample in suite.samples})])


def test_a_suite_of_one_dataset(nowhere: Path, small: SimpleNamespace) -> None:
    folder = small.write(nowhere, small.columns())
    assert {sample.category for sample in alpaca_eval.suite(folder, dataset="koala").samples} == {"koala"}
    with pytest.raises(DataError, match="koala, vicuna"):
        alpaca_eval.suite(folder, dataset="oasst")


def test_the_official_file_of_questions(nowhere: Path) -> None:
    nowhere.mkdir()
    rows = [{"instruction": f"i{n}", "output": "b", "generator": "gpt4", "dataset": "koala"} for n in range(3)]
    (nowhere / data.QUESTIONS).write_text(json.dumps(rows))
    assert [(q.id, q.instruction, q.baseline) for q in data.questions(nowhere)][2] == ("2", "i2", "b")
    (nowhere / data.QUESTIONS).write_text(json.dumps([*rows, rows[0]]))
    with pytest.raises(DataError, match="'i0' twice"):
        data.questions(nowhere)
    with pytest.raises(DataError, match=r"huggingface\.co"):
        data.questions(None)
