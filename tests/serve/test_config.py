"""Configurations that cannot be meant say so in a line; a gateway starts, says where, and ends at a signal."""

import os
import signal
import subprocess
import sys

import httpx
import pytest
from typer.testing import CliRunner

from aiflow import aio
from aiflow.cli import app
from aiflow.errors import UsageError
from aiflow.serve import ray_serve
from aiflow.serve.config import Config
from aiflow.serve.opening import open_models
from aiflow.serve.server import Bind
from aiflow.types import Message

SMALL = "topology: {nodes: {here: cloud}}\nlocal: true\nagents: {echo: {node: here, model: 'scripted:echo'}}\n"
BASE = {"topology": {"nodes": {"here": "cloud"}}, "local": True}
ECHO = {"echo": {"node": "here", "model": "scripted:echo"}}


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({}, "there is nothing to serve"),
        ({"agent": ECHO}, "agent: unknown key; did you mean 'agents'?"),
        ({"agents": {"a": {"node": "here"}}}, "model: missing"),
        ({"agents": {"a": {"model": "scripted:"}}}, "needs node, or nodes"),
        ({"agents": {"a": {"node": "here", "nodes": "cloud", "model": "scripted:"}}}, "needs node, or nodes"),
        ({"agents": {"a": {"node": "here", "patience": 2, "model": "scripted:"}}}, "patience belongs to a role"),
        ({"agents": ECHO, "graphs": {"echo": {"build": "home"}}}, "echo names an agent and a graph"),
        ({"graphs": {"g": {}}}, "a graph needs build, or server and devices"),
        ({"graphs": {"g": {"build": "home", "select": 3}}}, "select cannot be used with build"),
        ({"agents": ECHO, "limits": {"body": "0 MB"}}, "limits.body"),
        ({"agents": ECHO, "deadline": "soon"}, "'soon' is not a quantity"),
        ({"agents": ECHO, "allowance": {"concurrency": 0}}, "concurrency"),
    ],
)
def test_what_cannot_be_read(data, words):
    with pytest.raises(UsageError, match=words.replace("?", r"\?")):
        Config(**{**BASE, **data})


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"agents": {"a": {"node": "nowhere", "model": "scripted:echo"}}}, "'nowhere' is no node"),
        ({"agents": {"a": {"node": "here", "model": "scripted:echo", "backend": {"dly": 1}}}}, "no option 'dly'"),
        ({"agents": {"a": {"nodes": "device", "model": "scripted:echo"}}}, "nodes='device' names none"),
        ({"agents": {"a": {"node": "here", "model": "scripted:", "backend": {"about": "x"}}}}, "multiple values"),
        ({"agents": ECHO, "graphs": {"g": {"server": "echo", "devices": ["ecko"]}}}, "there is no agent 'ecko'"),
        ({"agents": ECHO, "graphs": {"g": {"build": "nowhere.py:graph"}}}, "not FILE.py:NAME of an existing file"),
        ({"agents": ECHO, "graphs": {"g": {"build": "os.path:nothing"}}}, "cannot be imported"),
        ({"agents": ECHO, "graphs": {"g": {"build": "nothing"}}}, "is not 'home', FILE.py:NAME or MODULE:NAME"),
    ],
)
def test_what_cannot_be_opened(data, words):
    with pytest.raises(UsageError, match=words):
        open_models(Config(**{**BASE, **data}))


def test_a_role_is_one_model():
    nodes = {"nodes": {"phone": "device", "laptop": "device", "hub": "cloud"}, "links": []}
    nodes["links"] = [{"between": ["device", "cloud"], "rate": "1 MB/s"}]
    agents = {
        "echo": {"nodes": "device", "model": "scripted:echo", "patience": 5},
        "hub": {**ECHO["echo"], "node": "hub"},
    }
    graphs = {"team": {"server": "hub", "devices": ["echo"], "select": "all", "revise": False}}
    cluster, models = open_models(Config(topology=nodes, local=True, emulate=False, agents=agents, graphs=graphs))
    with cluster:
        assert list(models) == ["team", "hub", "echo"]
        assert list(cluster.agents) == ["echo@phone", "echo@laptop", "hub"]
        asked = aio.run(models["echo"].answer([Message("user", "well")], {}))
        assert asked.text == "well"
        assert "well" in aio.run(models["team"].answer([Message("user", "well")], {})).text
        assert cluster.roles["echo"].spent.answers == 2


def test_files(tmp_path):
    with pytest.raises(UsageError, match="does not exist"):
        Config.load(tmp_path / "none.yaml")
    for text, words in (("[", "is not YAML"), ("3", "holds no keys"), (SMALL + "x: 1", "x: unknown key")):
        (tmp_path / "c.yaml").write_text(text)
        with pytest.raises(UsageError, match=words):
            Config.load(tmp_path / "c.yaml")
    (tmp_path / "t.yaml").write_text("nodes: {here: cloud}")
    (tmp_path / "c.yaml").write_text(SMALL.replace("{nodes: {here: cloud}}", "t.yaml") + "keys: k.json")
    config = Config.load(tmp_path / "c.yaml")
    assert list(config.topology.nodes) == ["here"]
    assert config.key_file == tmp_path / "k.json"
    assert Config.load("home").graphs["team"].build == "home"


def test_strangers_get_in_only_with_keys_and_tls(tmp_path):
    open_to_all = Config(**BASE, agents=ECHO)
    (tmp_path / "keys.json").write_text('{"keys": []}')
    (tmp_path / "cert.pem").touch()
    locked = Config(**BASE, agents=ECHO, keys="keys.json", folder=tmp_path)
    tls = {"tls_cert": tmp_path / "cert.pem", "tls_key": tmp_path / "cert.pem"}
    for host in ("0.0.0.0", "::", "192.168.1.5", "gateway.example"):
        with pytest.raises(UsageError, match="no API keys and no TLS"):
            Bind(host=host).check(open_to_all)
        with pytest.raises(UsageError, match="no TLS"):
            Bind(host=host).check(locked)
        with pytest.raises(UsageError, match="no API keys"):
            Bind(host=host, **tls).check(open_to_all)
        Bind(host=host, **tls).check(locked)
        Bind(host=host, insecure=True).check(open_to_all)
    for host in ("127.0.0.1", "::1", "localhost", "127.8.8.8"):
        Bind(host=host).check(open_to_all)
    with pytest.raises(UsageError, match="give both"):
        Bind(tls_cert=tmp_path / "cert.pem").check(locked)
    with pytest.raises(UsageError, match="aiflow serve key new"):
        Bind().check(Config(**BASE, agents=ECHO, keys="none.json", folder=tmp_path))


def test_the_commands_of_keys(tmp_path):
    file = str(tmp_path / "keys.json")

    def aiflow(*args):
        done = CliRunner().invoke(app, ["serve", "key", *args, "--file", file])
        assert done.exit_code == 0, done.output
        return done.stdout.strip()

    key = aiflow("new", "alice", "--requests-per-minute", "5")
    assert key.startswith("aiflow-")
    assert aiflow("list") == f"{key.split('-')[1]}  alice  5 requests/min"
    aiflow("revoke", "alice")
    assert aiflow("list") == ""


def test_the_command_serves_until_it_is_told_to_end(tmp_path):
    file = tmp_path / "gateway.yaml"
    file.write_text(SMALL)
    command = [sys.executable, "-c", "from aiflow.cli import main; main()", "serve", str(file), "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=dict(os.environ))
    try:
        url = process.stdout.readline().strip()
        body = {"model": "echo", "messages": [{"role": "user", "content": "hunter2"}]}
        said = httpx.post(f"{url}/chat/completions", json=body).json()
        assert said["choices"][0]["message"]["content"] == "hunter2"
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130
    assert "chat model=echo key=- status=200" in errors
    assert "hunter2" not in errors
    assert "Traceback" not in errors


def test_ray_serve_is_an_extra(tmp_path):
    try:
        import ray.serve  # noqa: F401
    except ImportError:
        (tmp_path / "c.yaml").write_text(SMALL)
        with pytest.raises(UsageError, match=r"pip install 'aiflow\[ray-serve\]'"):
            ray_serve.serve(str(tmp_path / "c.yaml"), Bind())
    else:
        pytest.skip("ray[serve] is installed")
