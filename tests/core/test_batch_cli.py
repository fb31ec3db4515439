"""``aiflow batch`` as users run it: drivers that die, stops, what is refused. Without Ray."""

import json
import random
import subprocess
import sys
import textwrap
import time
from collections import defaultdict
from contextlib import contextmanager
from pathlib import Path

import pytest
from typer.testing import CliRunner

from aiflow.cli import app
from aiflow.errors import AiflowError, DataError, TopologyError, UsageError
from aiflow.graphs.journal import Journal

AIFLOW = str(Path(sys.executable).parent / "aiflow")
STEPS = ("plan", "draft", "check")
GRAPH = textwrap.dedent(
    """
    import json, os, pathlib, signal
    from langgraph.graph import END, START, MessagesState, StateGraph

    HERE = pathlib.Path(__file__).parent

    def count():
        log = HERE / "log"
        return log.read_text().count("\\\\n") if log.exists() else 0

    def graph(cluster):
        agents = [cluster.agent(n, node="phone", model="scripted:{question} " + n, delay=0.01) for n in STEPS]
        made = StateGraph(MessagesState)

        def node(agent):
            async def step(state):
                question = state["messages"][0].content
                with (HERE / "log").open("a") as file:
                    file.write(f"{question} {agent.name}\\\\n")
                if count() in KILLS:
                    os.kill(os.getpid(), signal.SIGKILL)
                answer = await agent.ask([("user", state["messages"][-1].content)], deadline=DEADLINE)
                return {"messages": [("assistant", answer.text)]}
            return step

        for agent in agents:
            made.add_node(agent.name, node(agent))
        for before, after in zip([START, *STEPS], [*STEPS, END]):
            made.add_edge(before, after)
        return made
    """
)


@pytest.fixture
def batch(tmp_path):
    """Writes a file of questions and a graph, and runs ``aiflow batch`` on them in a process."""

    class Batch:
        questions, graph = tmp_path / "questions.jsonl", tmp_path / "own.py"
        journal, out = tmp_path / "run.journal", tmp_path / "answers.jsonl"

        def write(self, count, kills=(), deadline=None):
            lines = [{"id": f"q{i}", "question": f"question{i}"} for i in range(count)]
            self.questions.write_text("".join(json.dumps(line) + "\n" for line in lines))
            head = f"STEPS, KILLS, DEADLINE = {STEPS!r}, {set(kills)!r}, {deadline!r}\n"
            self.graph.write_text(head + GRAPH.replace("\\\\n", "\\n"))

        def command(self, *more):
            said = [AIFLOW, "batch", str(self.questions), "--graph", f"{self.graph}:graph", "--local", *more]
            return [*said, "--journal", str(self.journal), "--out", str(self.out), "--parallel", "3"]

        def run(self, *more):
            done = subprocess.run(
                self.command(*more, "--json"), text=True, capture_output=True, timeout=60, cwd=tmp_path, check=False
            )
            return done.returncode, json.loads(done.stdout or "{}"), done.stderr

        def answers(self):
            return [json.loads(line) for line in self.out.read_text().splitlines()]

        def log(self):
            log = tmp_path / "log"
            return log.read_text().splitlines() if log.exists() else []

        def check(self, count):
            """Each answer is its question's, and a step whose successor has begun is never begun again."""
            assert [(line["id"], line["answer"]) for line in self.answers()] == [
                (f"q{i}", f"question{i} plan draft check") for i in range(count)
            ]
            begun = defaultdict(list)
            for line in self.log():
                question, step = line.split()
                begun[question].append(STEPS.index(step))
            assert all(order == sorted(order) for order in begun.values())

    return Batch()


def test_a_driver_that_dies_in_the_middle_of_steps_is_started_again(batch):
    kills = random.Random(8).sample(range(2, 34), 3)
    batch.write(12, kills)
    code, result, said = batch.run()
    assert code == 0, said
    assert {k: result[k] for k in ("answered", "failed", "unfinished", "dropped")} == {
        "answered": 12,
        "failed": 0,
        "unfinished": 0,
        "dropped": 0,
    }
    assert result["ends"] == ["was killed by SIGKILL"] * 3
    assert result["restarts"] == 3
    assert result["resumed"] >= 1
    assert "the driver was killed by SIGKILL; another starts in 0.5 s" in said
    batch.check(12)
    before = len(batch.log())
    batch.out.unlink()
    code, result, said = batch.run()  # a finished journal: the answers are written, and nobody is asked
    assert (code, result["answered"], result["restarts"]) == (0, 12, 0), said
    assert len(batch.log()) == before
    batch.check(12)


def test_a_driver_that_never_gets_anything_done_is_given_up(batch):
    batch.write(1, range(1, 100))
    code, _, said = batch.run("--restarts", "0")
    assert code == 1
    assert "drivers got nothing done, 1 in a row, the last of which was killed by SIGKILL; 0 of 1 done" in said
    assert "Traceback" not in said
    batch.write(1)
    assert batch.run()[0] == 0
    batch.check(1)


def test_a_stopped_batch_says_how_to_go_on(batch):
    batch.write(60)
    with started(batch.command(), text=True, stderr=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        wait(process, lambda: len(batch.log()) > 20)
        process.terminate()
        out, said = process.communicate(timeout=30)
    assert process.returncode == 130, said
    assert "go on with: aiflow batch " in said
    assert ", left " in out
    with Journal(batch.journal) as journal:
        counts = journal.counts()
    assert counts.running == 0
    assert 5 < counts.answered < 60
    assert len(batch.answers()) == counts.answered
    code, result, said = batch.run()
    assert (code, result["answered"]) == (0, 60)
    assert f"goes on with {batch.journal}: {counts.answered} of 60 done" in said
    batch.check(60)
    assert len(batch.log()) == 180  # what ran when it was stopped was finished


def test_the_driver_ends_with_a_killed_command(batch):
    batch.write(200)
    with started(batch.command(), stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as process:
        wait(process, lambda: len(batch.log()) > 5)
    with Journal(batch.journal) as journal:
        limit = time.monotonic() + 30
        while journal.counts().running:
            assert time.monotonic() < limit
            time.sleep(0.05)
        counts = journal.counts()
        assert counts.unfinished
        time.sleep(0.5)
        assert journal.counts() == counts  # nobody goes on in the background


def test_questions_that_fail_are_told_and_can_be_tried_again(batch):
    batch.write(3, deadline=0.001)
    code, result, said = batch.run("--attempts", "2")
    assert (code, result["answered"], result["failed"]) == (1, 0, 3), said
    assert all(line["error"].startswith("DeadlineError") for line in batch.answers())
    batch.write(3)
    assert batch.run()[0] == 1  # an end is an end
    code, result, said = batch.run("--again")
    assert (code, result["answered"], result["failed"]) == (0, 3, 0), said
    batch.check(3)


def test_a_graph_that_cannot_be_built_is_not_tried_for_ever(batch):
    batch.write(1)
    batch.graph.write_text("def graph(cluster):\n    return 1 / 0\n")
    code, result, said = batch.run()
    assert (code, result["unfinished"]) == (1, 1)
    assert said.count("ZeroDivisionError") == 3
    batch.graph.write_text("def graph(cluster):\n    cluster.agent('a', node='phon', model='scripted:echo')\n")
    code, _, said = batch.run()
    assert code == 2
    assert said.count("'phon' is no node; did you mean 'phone'?") == 1


@contextmanager
def started(command, **how):
    """Runs it for a block, and kills it at the end."""
    process = subprocess.Popen(command, **how)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def wait(process, true):
    limit = time.monotonic() + 30
    while not true():
        assert process.poll() is None
        assert time.monotonic() < limit
        time.sleep(0.01)


GOOD = '{"id": "1", "question": "hello"}\n'


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (GOOD + "{nonsense", ":2 is no question: Expecting property name"),
        (GOOD + "\n\n" + '{"id": 2}', ":4 is no question: \"{'id': 2}\" has no id, or no question"),
        ('{"question": "x"}', ":1 is no question"),
        ("[1]", ":1 is no question"),
        ('{"id": "1", "question": " "}', ":1 is no question: the question is empty"),
        ('{"id": true, "question": "x"}', "the id True is neither a text nor a number"),
        ('{"id": "", "question": "x"}', "the id '' is neither"),
        ('{"id": "1", "messages": []}', ":1 is no question: the question is empty"),
        ('{"id": "1", "messages": [{"role": "tool", "content": "x"}]}', "role 'tool' is unknown"),
        (GOOD + '{"id": 1, "question": "x"}', ":2 has the id '1' of line 1; give each question its own"),
        (GOOD + GOOD, ":2 has the id '1' of line 1"),
        ("\n", "holds no question"),
        (b"\xff\xfe", "is not UTF-8"),
        (None, "cannot be read (No such file or directory)"),
    ],
)
def test_files_of_questions_that_are_refused(batch, text, words):
    if text is not None:
        batch.questions.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(DataError) as error:
        here(batch)
    assert words in str(error.value)
    assert not batch.journal.exists()


def here(batch, *more):
    """The command in this process."""
    batch.graph.exists() or batch.graph.write_text("graph = None")
    command = batch.command(*more)[1:]
    done = CliRunner().invoke(app, command, standalone_mode=False)
    if isinstance(done.exception, AiflowError):
        raise done.exception
    assert done.exception is None
    return done


def test_other_refusals(batch):
    batch.write(2)
    with pytest.raises(TopologyError):
        here(batch, "--topology", "nowhere.yaml")
    with pytest.raises(UsageError, match=r"is not 'home' and not FILE\.py:NAME"):
        here(batch, "--graph", "nowhere.py:graph")
    with Journal(batch.journal) as journal:
        journal.bind("graph", "home")
    with pytest.raises(UsageError, match="was begun with graph 'home'"):
        here(batch)
    batch.journal.unlink()
    with Journal(batch.journal) as journal:
        journal.add("q1", "another")
    with pytest.raises(UsageError, match=r"'q1' is in .* with another input"):
        here(batch)


def test_the_three_forms_of_a_question_are_read(tmp_path):
    from aiflow.batch_questions import read

    body = {"model": "m", "messages": [{"role": "user", "content": "c"}], "temperature": 1}
    lines = [
        {"id": 1, "question": "a"},
        {"id": "2", "messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "b"}]},
        {"custom_id": "3", "method": "POST", "url": "/v1/chat/completions", "body": body},
    ]
    path = tmp_path / "q.jsonl"
    path.write_text("\n\n".join(map(json.dumps, lines)))
    found, unused = read(path)
    assert unused == {"body.temperature"}
    assert {id: [m["content"] for m in given["messages"]] for id, given in found.items()} == {
        "1": ["a"],
        "2": ["s", "b"],
        "3": ["c"],
    }
