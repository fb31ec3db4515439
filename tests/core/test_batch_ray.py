"""``aiflow batch`` on a cluster that runs: agents are actors, and a driver that dies leaves them to Ray."""

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

AIFLOW = str(Path(sys.executable).parent / "aiflow")
GRAPH = textwrap.dedent(
    """
    import os, pathlib, signal
    from langgraph.graph import END, START, MessagesState, StateGraph

    ONCE = pathlib.Path(__file__).with_suffix(".once")

    def graph(cluster):
        phone = cluster.agent("a", node="phone", model="scripted:{question} phone")
        cloud = cluster.agent("b", node="cloud", model="scripted:{question} cloud")

        async def first(state):
            return {"messages": [("assistant", (await phone.ask(state["messages"])).text)]}

        async def second(state):
            if state["messages"][0].content == "q4" and not ONCE.exists():
                ONCE.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            return {"messages": [("assistant", (await cloud.ask([("user", state["messages"][-1].content)])).text)]}

        made = StateGraph(MessagesState)
        made.add_node("first", first)
        made.add_node("second", second)
        made.add_edge(START, "first")
        made.add_edge("first", "second")
        made.add_edge("second", END)
        return made
    """
)


def test_a_driver_that_dies_leaves_the_rest_to_another(runtime, tmp_path):
    import ray

    (tmp_path / "own.py").write_text(GRAPH)
    lines = [json.dumps({"id": str(i), "question": f"q{i}"}) + "\n" for i in range(8)]
    (tmp_path / "questions.jsonl").write_text("".join(lines))
    address = ray.get_runtime_context().gcs_address
    command = [AIFLOW, "batch", "questions.jsonl", "--graph", "own.py:graph", "--address", address, "--parallel", "2"]
    command += ["--journal", "run.journal", "--out", "answers.jsonl", "--json"]
    env = os.environ | {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}  # Ray looks for 127.0.0.1 there, as the cluster does
    done = subprocess.run(command, cwd=tmp_path, env=env, text=True, capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert (result["answered"], result["ends"]) == (8, ["was killed by SIGKILL"])
    assert result["resumed"] >= 1
    answers = [json.loads(line) for line in (tmp_path / "answers.jsonl").read_text().splitlines()]
    assert [a["answer"] for a in answers] == [f"q{i} phone cloud" for i in range(8)]
    assert runtime.nodes()["cloud"].alive
