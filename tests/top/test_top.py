"""What ``aiflow top`` shows of a gateway, and of one that is not there."""

import http.server
import json
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from rich.console import Console

from aiflow.errors import ClusterError, CredentialError, InputError
from aiflow.top.frame import AgentRow, Frame, LinkRow, NodeRow
from aiflow.top.gateway import Gateway
from aiflow.top.loop import watch
from aiflow.top.show import draw

AIFLOW = Path(sys.executable).with_name("aiflow")
STATUS = {
    "uptime": 5.0,
    "requests": 1,
    "nodes": {"phone": {"tier": "device", "alive": True}, "cloud": {"tier": "cloud", "alive": False}},
    "links": {"phone-cloud": {"rate_up": 2e6, "rate_down": 1e6, "rtt": 0.02, "measured": True, "bytes": 1000}},
    "agents": {
        "math": {
            "node": "phone", "model": "scripted", "state": "up", "in_flight": 1, "asked": 3, "answered": 2,
            "errors": {"DeadlineError": 1}, "prompt_tokens": 9, "completion_tokens": 12, "seconds": 0.5,
        }
    },
}  # fmt: skip


@pytest.fixture
def said():
    """A gateway's answers, which tests may change: (status code, body)."""
    answers = {"/status": (200, json.dumps(STATUS).encode())}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            code, body = answers.get(self.path, (404, b""))
            if self.headers.get("authorization") != answers.get("key"):
                code, body = 401, b""
            self.send_response(code)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        answers["url"] = f"http://127.0.0.1:{server.server_port}"
        yield answers
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("form", ["{}", "{}/", "{}/v1", "{}/v1/"])
def test_a_frame_of_a_gateway(said, form):
    frame = Gateway(form.format(said["url"])).frame()
    assert frame.nodes == {"phone": NodeRow(tier="device", state="up"), "cloud": NodeRow(tier="cloud", state="gone")}
    assert frame.agents["math"].errors == 1
    assert (frame.links["phone-cloud"].rate_up, frame.links["phone-cloud"].measured) == (2e6, True)


def test_an_address_without_a_scheme(said):
    assert Gateway(said["url"].removeprefix("http://")).frame().nodes


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b"hello", b'{"nodes": {"a": 1}, "links": {}, "agents": {}}'])
def test_answers_that_are_not_a_gateways(said, body):
    said["/status"] = (200, body)
    with pytest.raises(ClusterError, match="is it one of aiflow"):
        Gateway(said["url"]).frame()


def test_a_key(said):
    said["key"] = "Bearer aiflow-1-2"
    with pytest.raises(CredentialError, match="AIFLOW_API_KEY"):
        Gateway(said["url"]).frame()
    assert Gateway(said["url"], "aiflow-1-2").frame().nodes


def test_other_statuses_and_nobody(said):
    said["/status"] = (500, b"")
    with pytest.raises(ClusterError, match="answers 500"):
        Gateway(said["url"]).frame()
    with pytest.raises(ClusterError, match="no gateway answers"):
        Gateway("127.0.0.1:9").frame()
    with pytest.raises(InputError, match="HOST:PORT"):
        Gateway("ftp://127.0.0.1")


def frame(moment, **what):
    return Frame(source="here", moment=moment, **what)


def test_what_happened_between_two_frames():
    link = LinkRow(state="up", rate_up=1.0, rate_down=1.0, rtt=0.1, bytes=100)
    before = frame(1.0, links={"a-b": link}, agents={"m": AgentRow(node="a", state="up", tokens=10)})
    after = frame(
        3.0,
        links={"a-b": LinkRow(state="up", rate_up=1.0, rate_down=1.0, rtt=0.1, bytes=500)},
        agents={"m": AgentRow(node="a", state="up", tokens=30)},
    ).after(before)
    assert after.links["a-b"].traffic == 200.0
    assert after.agents["m"].speed == 10.0
    anew = frame(5.0, agents={"m": AgentRow(node="a", state="up", tokens=2)}).after(after)
    assert anew.agents["m"].speed is None


def test_who_is_not_there_any_more_is_gone():
    before = frame(
        1.0,
        nodes={"a": NodeRow(tier="edge", state="up", cpu=5.0)},
        agents={"m": AgentRow(node="a", state="up", in_flight=3)},
    )
    after = frame(2.0, nodes={"b": NodeRow(tier="edge", state="up")}).after(before)
    assert {name: row.state for name, row in after.nodes.items()} == {"a": "gone", "b": "up"}
    assert (after.agents["m"].state, after.agents["m"].in_flight) == ("gone", 0)


def test_a_drawing_names_everything():
    shown = frame(
        1.0,
        nodes={
            "phone": NodeRow(tier="device", state="gone"),
            "pc": NodeRow(tier="edge", state="up", cpu=7.0, memory=(1e9, 4e9)),
        },
        links={"phone-pc": LinkRow(state="up", rate_up=2e6, rate_down=1e6, rtt=0.02, measured=True, traffic=5.0)},
        agents={"math": AgentRow(node="phone", state="restarting", answered=4)},
    )
    console = Console(width=120, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(draw(shown))
    text = console.export_text()
    for words in ("phone", "gone", "7 %", "1.0 GB of 4.0 GB", "2.0 MB/s", "20.0 ms", "measured", "restarting", "4"):
        assert words in text


class Failing:
    """A source that answers once."""

    name = "failing"

    def __init__(self):
        self.asked = self.closed = 0

    def frame(self):
        self.asked += 1
        if self.asked == 1:
            return frame(1.0, nodes={"phone": NodeRow(tier="device", state="up")})
        if self.asked == 2:
            raise ClusterError("the head is gone")
        raise KeyboardInterrupt

    def close(self):
        self.closed += 1


def test_a_source_that_stops_answering_is_shown_as_that(monkeypatch):
    seen = []
    monkeypatch.setattr("rich.live.Live.update", lambda self, shown, refresh: seen.append(shown))  # noqa: ARG005
    monkeypatch.setattr("aiflow.top.loop.Console", lambda: Console(force_terminal=True, file=open("/dev/null", "w")))  # noqa: SIM115
    source = Failing()
    with pytest.raises(KeyboardInterrupt):
        watch(source, interval=0.01, once=False, json=False)
    console = Console(width=120, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(seen[-1])
    text = console.export_text()
    assert "the head is gone" in text
    assert "phone" in text
    assert source.closed == 1


def test_the_command(said):
    def run(*words):
        return subprocess.run([AIFLOW, "top", *words], capture_output=True, text=True, timeout=60, check=False)

    done = run(said["url"], "--once", "--json")
    assert done.returncode == 0
    assert json.loads(done.stdout.splitlines()[-1])["agents"]["math"]["tokens"] == 12
    nobody = run("127.0.0.1:9", "--once")
    assert (nobody.returncode, nobody.stdout) == (1, "")
    assert nobody.stderr.startswith("aiflow: no gateway answers")
    assert run("a", "--name", "b").returncode == 2
