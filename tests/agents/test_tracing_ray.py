"""One trace across processes, and what an agent's process is called there."""

import json
import os

import pytest

from aiflow import tracing
from aiflow.agents.deployment import Deployment
from aiflow.cluster.network import Network


@pytest.fixture
def traced(runtime, tmp_path, monkeypatch):
    """An agent in a process of its own, and the file of spans, once all of them are in it."""
    import ray

    monkeypatch.delenv(tracing.TARGET, raising=False)
    file = tmp_path / "spans.jsonl"
    tracing.start(str(file))
    cluster = Deployment(Network(runtime.topology, emulate=False), runtime)
    agent = cluster.agent("math", node="phone", model="scripted:12 * 7 = 84")
    names = []

    async def ask():
        try:
            with tracing.span("outer"):
                await agent.ask("hunter2", deadline=60)
                async for _ in agent.stream("hunter2", deadline=60):
                    pass
            names.extend(ray.util.list_named_actors())
        finally:
            await agent.close()
        text = file.read_text()
        return [json.loads(line) for line in text.splitlines()], names

    yield ask
    tracing.stop()


async def test_spans_of_an_agents_process_belong_to_who_asked(traced):
    rows, names = await traced()
    outer = next(row for row in rows if row["name"] == "outer")
    asked = [row for row in rows if row["name"] == "ask math"]
    worked = [row for row in rows if row["name"] == "chat scripted"]
    assert {row["trace"] for row in rows} == {outer["trace"]}
    assert [row["parent"] for row in asked] == [outer["span"]] * 2
    assert {row["parent"] for row in worked} == {row["span"] for row in asked}
    assert all(row["pid"] != os.getpid() and row["node"] == "phone" for row in worked)
    assert outer["pid"] == os.getpid()
    assert "hunter2" not in json.dumps(rows)
    assert any(name.startswith("agent math on phone ") for name in names)


async def test_actors_bear_names_that_do_not_collide(runtime):
    import ray

    cluster = Deployment(Network(runtime.topology, emulate=False), runtime)
    other = Deployment(Network(runtime.topology, emulate=False), runtime)
    agents = [place.agent("math", node="phone", model="scripted:1") for place in (cluster, other)]
    try:
        for agent in agents:
            await agent.ready(60)
        found = [name for name in ray.util.list_named_actors() if name.startswith("agent math on phone ")]
        assert len(found) == 2
        told = ray.get(ray.get_actor(found[0]).__ray_call__.remote(repr), timeout=30)
        assert told == "agent math on phone"
    finally:
        for agent in agents:
            await agent.close()


async def test_a_collector_gets_the_spans_of_all_processes_before_they_end(runtime, monkeypatch):
    import http.server
    import threading

    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    monkeypatch.delenv(tracing.TARGET, raising=False)
    got = []

    class Collector(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            got.append((self.path, self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Collector) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            tracing.start(f"http://127.0.0.1:{server.server_port}")
            cluster = Deployment(Network(runtime.topology, emulate=False), runtime)
            agent = cluster.agent("math", node="phone", model="scripted:84")
            await agent.ask("hunter2", deadline=60)
            await agent.close()
            tracing.stop()
        finally:
            tracing.stop()
            server.shutdown()
            thread.join()
    spans, nodes = {}, set()
    for path, body in got:
        assert path == "/v1/traces"
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            nodes |= {a.value.string_value for a in resource.resource.attributes if a.key == "aiflow.node"}
            spans |= {span.name: span for scope in resource.scope_spans for span in scope.spans}
    assert spans["chat scripted"].parent_span_id == spans["ask math"].span_id
    assert nodes == {"phone"}
