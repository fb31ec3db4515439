"""Whether traces tell the truth about bytes: against messages encoded anew, and against time on an emulated link."""

import time
from collections import Counter
from typing import Any

from aiflow.agents import wire
from aiflow.agents.agent import Agent
from aiflow.agents.deployment import Deployment, connect
from aiflow.bench.system import scripted
from aiflow.types import Answer, Image, conversation

HOME = {
    "nodes": {"phone": "device", "laptop": "device", "hall": "edge", "cloud": "cloud"},
    "links": [
        {"between": ["device", "edge"], "rate": "20 MB/s"},
        {"between": ["edge", "cloud"], "rate": "50 MB/s"},
    ],
}
SLOW = {
    "nodes": {"phone": "device", "cloud": "cloud"},
    "links": [{"between": ["phone", "cloud"], "rate": "500 KB/s"}],
}
IMAGE = Image(b"\x89PNG\r\n\x1a\n" + bytes(1_000_000 - 8))


def main(*, questions: int = 50, json: bool = False) -> None:
    """Prints bytes per link as traced, as counted by the links, and as encoded; and the image's seconds."""
    ledger = _ledger(questions)
    seconds = _image_seconds()
    for link, row in ledger.items():
        print(
            f"{link:<16} traced {row['traced']:>9,} B  on the link {row['link']:>9,} B  encoded {row['encoded']:>9,} B"
        )
    exact = all(len(set(row.values())) == 1 for row in ledger.values())
    print(f"all equal: {exact}")
    print(f"a 1 MB image over 500 KB/s: {seconds:.3f} s (bar 2.0 s +- 5 %)")
    scripted.finish({"links": ledger, "exact": exact, "image_s": seconds}, json)


def _ledger(questions: int) -> dict[str, dict[str, int]]:
    with connect(HOME) as cluster:
        agents = [
            cluster.agent(name, node=name, model="scripted:", answers=f"{name} heard: {{question}}")
            for name in ("phone", "laptop")
        ]
        cluster.ready_sync()
        traced: Counter[str] = Counter()
        encoded: Counter[str] = Counter()
        for number in range(questions):
            for agent in agents:
                question = f"{'word ' * number}{number}?"
                answer = agent.ask_sync(question, sender="cloud")
                traced.update(answer.bytes)
                encoded.update(dict.fromkeys(answer.bytes, _encoded(agent, question, answer)))
        totals = cluster.network.totals()
    return {link: {"traced": traced[link], "link": totals[link], "encoded": encoded[link]} for link in totals}


def _encoded(agent: Agent, question: Any, answer: Answer) -> int:
    """Length of the question and the answer, encoded anew by the codec (request ids have one length)."""
    request = "0" * 16
    return len(wire.encode_ask(request, conversation(question), agent.options)) + len(
        wire.encode_answer(request, answer)
    )


def _image_seconds() -> float:
    with connect(SLOW) as cluster:
        return _ask_with_image(cluster)


def _ask_with_image(cluster: Deployment) -> float:
    agent = cluster.agent("phone", node="phone", model="scripted:a picture")
    cluster.ready_sync()
    agent.ask_sync("warm up")
    message = {"role": "user", "content": [{"type": "image_url", "image_url": {"url": IMAGE.url}}]}
    start = time.perf_counter()
    agent.ask_sync([message], sender="cloud")
    return time.perf_counter() - start
