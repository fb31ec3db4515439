"""Model strings and options -> back ends; the scripted and the replaying one."""

import gzip
import inspect
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiflow.agents import backends
from aiflow.agents.backends.stops import Stops
from aiflow.errors import AgentDiedError, BackendError, DataError, InputError, UnknownModelError
from aiflow.types import Answer, Message, Options

MT_BENCH = Path(__file__).parents[3] / "shared/data/mt_bench"
TALK = [Message("user", "Who are  you?"), Message("assistant", "..."), Message("user", "Why?")]


async def ask(model: str, *messages: Message | str, options: Options | None = None, **given: Any) -> Answer:
    backend = backends.create(model, **given)
    turns = [Message.of(message) for message in messages or ("Hi there",)]
    items = [item async for item in backend.stream(turns, options or Options())]
    assert isinstance(items[-1], Answer)
    assert "".join(item.text for item in items[:-1]) == items[-1].text
    return items[-1]


@pytest.mark.parametrize(
    ("model", "kind"),
    [
        ("aiflow:nano/math", "transformers"),
        ("gpt2", "transformers"),
        ("Qwen/Qwen2.5-0.5B-Instruct", "transformers"),
        ("./weights", "transformers"),
        ("https://host/v1#m", "openai"),
        ("http://[::1]:80/v1#m", "openai"),
        ("replay:a.json#m", "replay"),
        ("scripted:", "scripted"),
    ],
)
def test_the_form_says_which_back_end(model: str, kind: str) -> None:
    assert backends.kind(model) == kind


def test_transformers_options_are_known_without_torch() -> None:
    module = pytest.importorskip("aiflow.agents.backends.transformers")
    parameters = inspect.signature(module.TransformersBackend).parameters
    assert tuple(name for name in parameters if name != "model") == backends.TRANSFORMERS


BAD: list[tuple[Any, dict[str, Any], type[Exception], str]] = [
    ("", {}, UnknownModelError, "names no model; give a path"),
    (None, {}, UnknownModelError, "None names no model"),
    ("gpt 4", {}, UnknownModelError, "of no known form"),
    ("ftp://host/x#m", {}, UnknownModelError, "of no known form"),
    ("aiflow:mega/math", {}, UnknownModelError, "of no known form"),
    ("./nowhere", {}, UnknownModelError, "no such folder"),
    ("nobody/nothing", {}, UnknownModelError, "neither a folder nor in the Hugging Face cache"),
    ("http://localhost/v1", {}, UnknownModelError, "append one of http://localhost/v1/models"),
    ("http:///v1#m", {}, UnknownModelError, "names no host"),
    ("http://localhost:x/v1#m", {}, UnknownModelError, "is no URL"),
    ("http://localhost/v1#m", {"timeout": 0}, InputError, "timeout=0"),
    ("http://localhost/v1#m", {"retries": 1.5}, InputError, "retries=1.5"),
    (
        "http://localhost/v1#m",
        {"api_key": "x"},
        InputError,
        "the openai back end has no option 'api_key'; use one of 'key_env'",
    ),
    ("nobody/nothing", {"devise": "cpu"}, InputError, "did you mean 'device'"),
    ("scripted:", {"dely": 1}, InputError, "did you mean 'delay'"),
    ("scripted:", {"clock": 1}, InputError, "no option 'clock'"),
    ("scripted:", {"delay": "long"}, InputError, "delay='long'"),
    ("scripted:", {"token_delay": -1}, InputError, "token_delay=-1"),
    ("scripted:", {"fail": "dye"}, InputError, "did you mean 'die'"),
    ("scripted:", {"answers": {}}, InputError, "not empty"),
    ("scripted:", {"answers": 5}, InputError, "a dict, a list or a template"),
    ("replay:nowhere.json", {}, DataError, "nowhere.json cannot be read"),
]


@pytest.mark.parametrize(("model", "options", "error", "match"), BAD, ids=str)
def test_bad_models(
    monkeypatch: pytest.MonkeyPatch, model: Any, options: dict[str, Any], error: type[Exception], match: str
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(error, match=match) as caught:
        backends.check(model, options)
    assert "\n" not in str(caught.value)


def test_elsewhere_only_the_form_is_checked() -> None:
    backends.check("./nowhere", {}, here=False)
    backends.check("https://api.example.com/v1#m", {}, here=False)
    with pytest.raises(InputError):
        backends.check("./nowhere", {"devise": "cpu"}, here=False)


async def test_scripted_answers() -> None:
    assert (await ask("scripted:echo", " a  b ")).text == " a  b "
    assert (await ask("scripted:{turn}: {question}!", *TALK)).text == "2: Why?!"
    assert (await ask("scripted:", "x", answers={"x": "y"})).text == "y"
    assert (await ask("scripted:", "z", answers={"x": "y", "*": "?"})).text == "?"
    with pytest.raises(BackendError, match="no answer to 'z'"):
        await ask("scripted:", "z", answers={"x": "y"})
    sure = await ask("scripted:", answers="one two three", options=Options(max_tokens=2, top_logprobs=5))
    assert sure.logprobs == ((("one", 0.0),), ((" two", 0.0),))
    cut = await ask("scripted:", answers="one two three", options=Options(max_tokens=2))
    assert cut.logprobs == ()
    assert (cut.text, cut.finish, cut.usage.completion_tokens, cut.usage.prompt_tokens) == ("one two", "length", 2, 2)
    backend = backends.create("scripted:", answers=["1", "2"])
    texts = []
    for _ in range(3):
        texts += [i.text async for i in backend.stream(TALK, Options()) if isinstance(i, Answer)]
    assert texts == ["1", "2", "1"]


async def test_scripted_faults_and_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    for question in ("fine", "bad\nline"):
        if question == "fine":
            await ask("scripted:echo", question, fail="raise", fail_on="bad", log=log)
            continue
        with pytest.raises(BackendError, match="scripted to fail at"):
            await ask("scripted:echo", question, fail="raise", fail_on="bad", log=log)
    assert [json.loads(line) for line in log.read_text().splitlines()] == ["fine", "bad\nline"]
    with pytest.raises(AgentDiedError):
        await ask("scripted:echo", fail="die")


QUESTIONS = [{"question_id": 7, "turns": ["Who are you?", "Why?"]}]
FASTCHAT = [
    {"question_id": 7, "model_id": model, "choices": [{"index": 0, "turns": [f"I am {model}.", "So."]}]}
    for model in ("a", "b")
]
ALPACA = [{"instruction": "Who are you?", "output": "Me.", "generator": "c"}]


def lines(rows: list[Any]) -> str:
    return "\n".join(map(json.dumps, rows)) + "\n"


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    folder = tmp_path / "model_answer"
    folder.mkdir()
    (tmp_path / "question.jsonl").write_text(lines(QUESTIONS))
    (folder / "a.jsonl").write_text(lines(FASTCHAT[:1]))
    (folder / "both.jsonl.gz").write_bytes(gzip.compress(lines(FASTCHAT).encode()))
    (folder / "alpaca.json").write_text(json.dumps(ALPACA, indent=1))
    (folder / "answers.json").write_text(json.dumps({"d": {"7": ["It's d.", "Yes."]}}))
    return folder


@pytest.mark.parametrize(
    ("source", "first", "second"),
    [
        ("a.jsonl", "I am a.", "So."),
        ("both.jsonl.gz#b", "I am b.", "So."),
        ("alpaca.json", "Me.", None),
        ("answers.json#d", "It's d.", "Yes."),
    ],
)
async def test_replay(recorded: Path, source: str, first: str, second: str | None) -> None:
    model = f"replay:{recorded}/{source}"
    assert (await ask(model, Message("system", "Be brief."), TALK[0])).text == first
    if second is None:
        with pytest.raises(BackendError, match="no recorded answer to turn 2, 'Why\\?'"):
            await ask(model, *TALK)
    else:
        assert (await ask(model, *TALK)).text == second
        with pytest.raises(BackendError, match="turn 2, 'What else\\?'"):
            await ask(model, *TALK[:2], "What else?")
        with pytest.raises(BackendError, match="turn 3"):
            await ask(model, *TALK, TALK[1], "Why?")
    with pytest.raises(BackendError, match="no recorded answer to 'Who am I\\?'"):
        await ask(model, "Who am I?")


BROKEN: list[tuple[str, str, type[Exception], str]] = [
    ("x.jsonl", '{"question_id": 7}\n', DataError, "x.jsonl, line 1: expected a recorded answer"),
    ("x.jsonl", lines(FASTCHAT[:1]) + "{", DataError, "x.jsonl, line 2: not JSON"),
    ("x.jsonl", lines([{**FASTCHAT[0], "choices": [{"turns": [1]}]}]), DataError, "line 1: expected a list of texts"),
    ("x.jsonl", lines([{**FASTCHAT[0], "question_id": 8}]), DataError, "no question has the id '8'"),
    ("x.json", '[\n{"instruction": 3}]', DataError, "line 1: expected"),
    ("x.json", '{"a": 3}', DataError, "x.json, a: expected an object"),
    ("x.json", "5", DataError, "expected a list or an object"),
    ("x.json", "[]", DataError, "holds no answers"),
    ("x.json", "\x1f\x8bxxxx", DataError, "is damaged"),
    ("both.jsonl.gz#z", "", UnknownModelError, "has no model 'z'"),
    ("both.jsonl.gz", "", UnknownModelError, "use one of 'a', 'b'"),
]


@pytest.mark.parametrize(("name", "text", "error", "match"), BROKEN, ids=[b[3] for b in BROKEN])
def test_broken_recordings(recorded: Path, name: str, text: str, error: type[Exception], match: str) -> None:
    if text:
        (recorded / name).write_bytes(text.encode("latin-1"))
    with pytest.raises(error, match=match) as caught:
        backends.create(f"replay:{recorded}/{name}")
    assert "\n" not in str(caught.value)


def test_answers_without_questions(recorded: Path, tmp_path: Path) -> None:
    (tmp_path / "question.jsonl").rename(tmp_path / "q.jsonl")
    with pytest.raises(DataError, match="name their file with questions="):
        backends.create(f"replay:{recorded}/a.jsonl")
    backends.create(f"replay:{recorded}/a.jsonl", questions=tmp_path / "q.jsonl")


@pytest.mark.skipif(not MT_BENCH.is_dir(), reason="no benchmark data here")
async def test_replay_of_mt_bench() -> None:
    questions = json.loads((MT_BENCH / "recorded/questions_with_refs.json").read_text())
    answers = json.loads(gzip.decompress((MT_BENCH / "recorded/answers.json.gz").read_bytes()))["gpt-4-0613"]
    backend = backends.create(f"replay:{MT_BENCH}/recorded/answers.json.gz#gpt-4-0613")
    for key, question in questions.items():
        talk = [Message("user", question["turns"][0])]
        for turn in range(2):
            items = [item async for item in backend.stream(talk, Options())]
            assert items[-1].text == answers[key][turn]
            talk += [Message("assistant", items[-1].text), Message("user", question["turns"][1])]


@given(st.lists(st.text("abE", max_size=4), max_size=8), st.lists(st.text("abE", min_size=1, max_size=3), max_size=2))
def test_stops_cut_exactly(pieces: list[str], stop: list[str]) -> None:
    stops = Stops(stop)
    said = ""
    for piece in pieces:
        said += stops.feed(piece)
        if stops.stopped:
            break
    said += stops.rest()
    whole = "".join(pieces)
    complete = [(whole.index(s) + len(s), whole.index(s)) for s in stop if s in whole]
    assert said == whole[: min(complete, default=(0, len(whole)))[1]]
