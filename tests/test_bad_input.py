"""What users get wrong, as one table: each ends in one line of a typed error that names the value and the remedy."""

import asyncio
from pathlib import Path

import pytest

import aiflow
from aiflow import errors
from aiflow.types import Image

TWO = {"nodes": {"phone": "device", "cloud": "cloud"}, "links": [{"between": ["phone", "cloud"], "rate": "1 MB/s"}]}
BASE = "aiflow:nano/base"
PNG = b"\x89PNG\r\n\x1a\n"


def topology(**change):
    return lambda: aiflow.connect({**TWO, **change}, local=True)


def agent(**change):
    def make():
        with aiflow.connect(TWO, local=True) as cluster:
            return cluster.agent(**{"name": "a", "node": "phone", "model": "scripted:echo", **change})

    return make


def ask(*messages, model="scripted:echo", **options):
    def make():
        with aiflow.connect(TWO, local=True) as cluster:
            asked = cluster.agent("a", node="phone", model=model, **options)
            return asked.ask_sync(*messages, sender="cloud", deadline=20)

    return make


def graph(**change):
    def make():
        with aiflow.connect(TWO, local=True) as cluster:
            one = cluster.agent("a", node="phone", model="scripted:echo")
            built = aiflow.device_server(**{"server": one, "devices": [one], **change})
            return built.invoke({"messages": change.get("messages", [("user", "")])})

    return make


def big():
    return {
        "role": "user",
        "content": [{"type": "image_url", "image_url": {"url": Image(PNG + bytes(50_000_000)).url}}],
    }


def familial(command, *args, **change):
    def make():
        from aiflow import families

        defaults = {
            "branch": {"texts": Path("no.txt"), "exits": "2", "keep": 0.75, "storage": "bfloat16", "length": 8},
            "members": {"parameters": None, "memory": None, "latency": None},
        }
        return getattr(families, command)(*args, **{**defaults[command], "json": False, **change})

    return make


TABLE = {
    "no such topology file": (lambda: aiflow.connect("nowhere.yaml"), errors.TopologyError, "nowhere.yaml"),
    "unknown key in a topology": (topology(link=[]), errors.TopologyError, "did you mean 'links'"),
    "unknown tier": (topology(nodes={"phone": "devcie"}), errors.TopologyError, "did you mean 'device'"),
    "bad rate": (
        topology(links=[{"between": ["phone", "cloud"], "rate": "1 MB"}]),
        errors.TopologyError,
        "'1 MB' is not a quantity; write it like '1 MB/s'",
    ),
    "link to nowhere": (topology(links=[{"between": ["phone", "clod"], "rate": 1}]), errors.TopologyError, "clod"),
    "unreachable node": (topology(links=[]), errors.TopologyError, "phone"),
    "broken YAML": (lambda: aiflow.connect("nodes: {a: ["), errors.TopologyError, "topology"),
    "topology of a wrong type": (lambda: aiflow.connect(3), errors.TopologyError, "int"),
    "no Ray at an address": (lambda: aiflow.connect(TWO, address="127.0.0.1:1"), errors.ClusterError, "127.0.0.1:1"),
    "unknown node": (agent(node="phnoe"), errors.TopologyError, "did you mean 'phone'"),
    "unknown nano model": (agent(model="aiflow:nano/mth"), errors.UnknownModelError, "nano/math"),
    "unknown hub model, offline": (agent(model="nobody/nothing"), errors.UnknownModelError, "nobody/nothing"),
    "unknown folder": (agent(model="./no/folder"), errors.UnknownModelError, "no/folder"),
    "unknown option": (agent(delya=1), errors.UsageError, "did you mean 'delay'"),
    "missing key": (agent(model="https://api.openai.com/v1#gpt-4o"), errors.CredentialError, "OPENAI_API_KEY"),
    "missing recording": (agent(model="replay:nowhere.jsonl#m"), errors.DataError, "nowhere.jsonl"),
    "empty agent name": (agent(name=""), errors.InputError, "''"),
    "unreachable URL": (ask("hi", model="http://127.0.0.1:1/v1#m"), errors.BackendUnavailableError, "127.0.0.1:1"),
    "empty question": (ask("  "), errors.InputError, "the question is empty"),
    "question of a wrong type": (ask(3), errors.InputError, "int"),
    "50 MB message": (lambda: ask([big()])(), errors.MessageTooLargeError, "33,554,432"),
    "non-image bytes as image": (lambda: Image(b"hello"), errors.InputError, "not an image"),
    "text as image": (lambda: Image("hello"), errors.InputError, "not an image"),
    "temperature of a wrong type": (lambda: aiflow.Options(temperature="hot"), errors.InputError, "temperature='hot'"),
    "empty question to a graph": (graph(), errors.InputError, "the question is empty"),
    "no devices": (graph(devices=[]), errors.UsageError, "devices"),
    "select of a wrong type": (graph(select="two"), errors.UsageError, "select='two'"),
    "unknown merge": (graph(merge="sinthesis"), errors.UsageError, "did you mean 'synthesis'"),
    "negative deadline": (graph(deadline=-1), errors.UsageError, "deadline=-1"),
    "no such family": (familial("members", "no/family"), errors.UnknownModelError, "'no/family'"),
    "budget of letters": (familial("members", BASE, parameters="big"), errors.UsageError, "'big' is not a quantity"),
    "two budgets": (familial("members", BASE, parameters="1M", memory="1GB"), errors.InputError, "give one of them"),
    "budget too small": (
        familial("members", BASE, parameters="1k"),
        errors.BudgetError,
        "the smallest member is exit 1",
    ),
    "exit out of range": (familial("branch", BASE, Path("out"), exits="2,6"), errors.InputError, "exit 6"),
    "share out of range": (familial("branch", BASE, Path("out"), keep=1.5), errors.InputError, "keep=1.5"),
    "unknown storage": (
        familial("branch", BASE, Path("out"), storage="int4"),
        errors.InputError,
        "did you mean 'int8'",
    ),
    "missing calibration texts": (familial("branch", BASE, Path("out")), errors.InputError, "'no.txt'"),
    "an agent that is none": (graph(devices=["a"]), errors.UsageError, "cluster.agent"),
}


@pytest.mark.parametrize("name", TABLE)
def test_bad_input(name, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    call, kind, words = TABLE[name]
    with pytest.raises(kind) as caught:
        call()
    message = str(caught.value)
    assert words in message
    assert "\n" not in message.strip()
    assert isinstance(caught.value, errors.AiflowError)
    assert not isinstance(caught.value, asyncio.CancelledError)
