"""Agents and graphs as tools of MCP, asked by the SDK's own client: in this process, over stdio, over HTTP."""

import asyncio
import json
import os
import subprocess
import sys
import time
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
import yaml
from mcp import Client, StdioServerParameters
from mcp.shared.exceptions import MCPError

from aiflow.serve.config import Config
from aiflow.serve.keys import KeyFile
from aiflow.serve.mcp.server import server
from aiflow.serve.mcp.toolbox import Toolbox

AIFLOW = Path(sys.executable).with_name("aiflow")
HOME = {
    "nodes": {"cloud": "cloud", "phone": "device"},
    "links": [{"between": ["device", "cloud"], "rate": "1 GB/s"}],
}
AGENTS = {
    "math": {"node": "phone", "model": "scripted:12 * 7 = 84", "about": "arithmetic"},
    "hub": {"node": "cloud", "model": "scripted:The answer is 84."},
    "slow": {"node": "cloud", "model": "scripted:a b c", "backend": {"token_delay": 0.15}},
    "hung": {"node": "cloud", "model": "scripted:echo", "backend": {"fail": "hang"}},
    "broken": {"node": "cloud", "model": "scripted:echo", "backend": {"fail": "raise"}},
}
TEAM = {"server": "hub", "devices": ["math"], "select": "all"}
DATA = {"topology": HOME, "local": True, "emulate": False, "agents": AGENTS, "graphs": {"team": TEAM}}


@asynccontextmanager
async def connected(**config):
    """A client of a server in this process, and the toolbox."""
    settings = Config(**{**DATA, **config})
    toolbox = Toolbox(settings)
    toolbox.open()
    try:
        async with Client(server(toolbox, settings.allowance)) as client:
            yield client, toolbox
    finally:
        await toolbox.close()


def write(tmp_path, **config):
    """A configuration as a file."""
    file = tmp_path / "gateway.yaml"
    data = {**DATA, **config}
    data["topology"] = str(tmp_path / "home.yaml")
    (tmp_path / "home.yaml").write_text(yaml.safe_dump(HOME))
    file.write_text(yaml.safe_dump(data))
    return file


def text(result):
    """What a tool said."""
    (part,) = result.content
    return part.text


async def totals(toolbox, name):
    cluster, _, _ = await toolbox._opened()
    return await cluster[name].totals()


async def test_every_agent_and_graph_is_a_tool():
    async with connected() as (client, _):
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert set(tools) == {"ask_team", "ask_math", "ask_hub", "ask_slow", "ask_hung", "ask_broken"}
        assert "arithmetic" in tools["ask_math"].description
        assert "math" in tools["ask_team"].description
        for tool in tools.values():
            assert tool.input_schema["required"] == ["question"]
        assert text(await client.call_tool("ask_math", {"question": "12 * 7?"})) == "12 * 7 = 84"
        assert text(await client.call_tool("ask_team", {"question": "12 * 7?"})) == "The answer is 84."


async def test_what_goes_wrong_is_a_result_and_the_server_goes_on():
    async with connected(deadline="400 ms") as (client, _):
        for tool, question, words in (
            ("ask_broken", "hunter2", "failed (BackendError)"),
            ("ask_hung", "hunter2", "did not answer in time"),
            ("ask_math", "", "cannot use this input"),
            ("ask_team", " ", "give one argument"),
        ):
            result = await client.call_tool(tool, {"question": question})
            assert result.is_error
            assert words in text(result)
            assert "hunter2" not in text(result)
        wrong = await client.call_tool("ask_math", {"q": 1})
        assert wrong.is_error
        with pytest.raises(MCPError, match="no such tool"):
            await client.call_tool("ask_nobody", {"question": "?"})
        assert not (await client.call_tool("ask_math", {"question": "12 * 7?"})).is_error


async def test_a_cancelled_call_ends_the_generation():
    async with connected() as (client, toolbox):
        with pytest.raises((MCPError, TimeoutError)):
            await client.call_tool("ask_hung", {"question": "?"}, read_timeout_seconds=0.3)
        async with asyncio.timeout(5):
            while (await totals(toolbox, "hung")).cancelled < 1:
                await asyncio.sleep(0.01)
        assert (await totals(toolbox, "hung")).in_flight == 0
        assert text(await client.call_tool("ask_math", {"question": "?"})) == "12 * 7 = 84"


async def test_calls_run_at_the_same_time_and_limits_hold():
    async with connected(allowance={"concurrency": 2}) as (client, toolbox):
        both = asyncio.gather(*(client.call_tool("ask_slow", {"question": str(n)}) for n in range(2)))
        async with asyncio.timeout(5):
            while (await totals(toolbox, "slow")).in_flight < 2:
                await asyncio.sleep(0.005)
        third = await client.call_tool("ask_slow", {"question": "3"})
        assert third.is_error
        assert "limit" in text(third)
        assert [text(result) for result in await both] == ["a b c", "a b c"]


async def test_resources():
    async with connected() as (client, _):
        found = [str(resource.uri) for resource in (await client.list_resources()).resources]
        assert found == ["aiflow://topology", "aiflow://status"]
        status = json.loads((await client.read_resource("aiflow://status")).contents[0].text)
        assert status["agents"]["math"]["state"] == "up"
        assert "phone" in json.loads((await client.read_resource("aiflow://topology")).contents[0].text)["nodes"]
        with pytest.raises(MCPError, match="no such resource"):
            await client.read_resource("aiflow://secrets")


async def test_agents_that_cannot_start_are_told_to_who_asks(caplog):
    broken = {"math": {"node": "nowhere", "model": "scripted:1"}}
    async with connected(agents=broken, graphs={}) as (client, _):
        with pytest.raises(MCPError, match="cannot be started"):
            await client.list_tools()
    assert "nowhere" in caplog.text


async def test_over_stdio_stdout_is_the_protocols_alone_and_nothing_stays(tmp_path):
    config = write(tmp_path, graphs={"chatty": {"build": "chatty.py:build"}})
    (tmp_path / "chatty.py").write_text(
        "import os\nfrom aiflow.graphs import device_server\n"
        "def build(cluster):\n    print('to stdout'); os.write(1, b'to the descriptor\\n')\n"
        f"    open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid()))\n"
        "    return device_server(cluster['hub'], [cluster['math']], select='all')\n"
    )
    parameters = StdioServerParameters(command=str(AIFLOW), args=["mcp", str(config)])
    async with asyncio.timeout(60), Client(parameters) as client:
        assert "ask_chatty" in [tool.name for tool in (await client.list_tools()).tools]
        assert text(await client.call_tool("ask_math", {"question": "?"})) == "12 * 7 = 84"
        assert text(await client.call_tool("ask_chatty", {"question": "?"})) == "The answer is 84."
        pid = int((tmp_path / "pid").read_text())
        os.kill(pid, 0)
    async with asyncio.timeout(10):
        while Path(f"/proc/{pid}").exists():
            await asyncio.sleep(0.05)


@pytest.fixture
def over_http(tmp_path):
    """Runs ``aiflow mcp --http`` and gives its URL and a key; ends it by a signal."""
    key = KeyFile(tmp_path / "keys.json").add("me")
    config = write(tmp_path, keys="keys.json")
    with subprocess.Popen(
        [AIFLOW, "mcp", config, "--http", "--port", "0"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process.stdout.readline().strip(), key
        finally:
            process.terminate()
            process.wait(20)


async def test_over_http_with_keys(over_http):
    import httpx2
    from mcp.client.streamable_http import streamable_http_client

    url, key = over_http
    assert url.startswith("http://127.0.0.1:")
    assert httpx.post(url, json={}).status_code == 401
    assert httpx.post(url, json={}, headers={"authorization": "Bearer aiflow-1-2"}).status_code == 401
    headers = {"authorization": f"Bearer {key}"}
    async with (
        asyncio.timeout(60),
        httpx2.AsyncClient(headers=headers) as http,
        Client(streamable_http_client(url, http_client=http)) as client,
    ):
        answers = await asyncio.gather(*(client.call_tool("ask_slow", {"question": "?"}) for _ in range(2)))
        assert [text(answer) for answer in answers] == ["a b c", "a b c"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"host": "evil.example"}, 421),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "http://localhost:3000"}, 200),
        ({}, 200),
    ],
)
async def test_without_keys_only_local_names_and_pages_are_answered(headers, status):
    from aiflow.serve.mcp.run import application
    from aiflow.serve.server import Bind

    settings = Config(**DATA)
    toolbox = Toolbox(settings)
    toolbox.open()
    app = application(toolbox, settings, Bind())
    hello = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "initialize",
        "params": {
            "protocolVersion": "2025-06-18",
            "capabilities": {},
            "clientInfo": {"name": "test", "version": "1"},
        },
    }
    accept = {"accept": "application/json, text/event-stream"}
    try:
        async with app._app.router.lifespan_context(app._app):
            transport = httpx.ASGITransport(app)
            async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8001") as client:
                answer = await client.post("/mcp", json=hello, headers={**accept, **headers})
        assert answer.status_code == status
    finally:
        await toolbox.close()


def test_other_addresses_need_keys_and_tls(tmp_path):
    command = [AIFLOW, "mcp", write(tmp_path), "--http", "--host", "0.0.0.0", "--port", "0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert "can be reached by others" in done.stderr


def test_a_signal_ends_it_over_stdio(tmp_path):
    with subprocess.Popen(
        [AIFLOW, "mcp", write(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        try:
            process.stdin.write(b'{"jsonrpc":"2.0","id":1,"method":"ping"}\n')
            process.stdin.flush()
            assert b'"id":1' in process.stdout.readline()
            began = time.monotonic()
            process.terminate()
            assert process.wait(20) == 143
            assert time.monotonic() - began < 15
        finally:
            process.kill()
