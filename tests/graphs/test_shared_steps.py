"""A step that several agents computed shows the times of its parts in the trace."""

from aiflow.agents.tofc.events import Looked
from aiflow.graphs.state import record
from aiflow.types import Answer


def test_a_record_has_the_times_of_device_link_and_server(cast):
    looked = Looked(
        text="a cat", seconds=1.0, bytes={"a-b": 7}, device_seconds=0.2, link_seconds=0.5, server_seconds=0.3
    )
    line = record("look", cast.hub(), 0.0, answer=looked)
    assert (line["seconds"], line["bytes"]) == (1.0, {"a-b": 7})
    assert line["parts"] == {"device": 0.2, "link": 0.5, "server": 0.3}
    assert "parts" not in record("answer", cast.hub(), 0.0, answer=Answer(text="a cat"))


def test_the_command_line_shows_them(tmp_path, capsys, monkeypatch):
    from aiflow import running

    (tmp_path / "graph.py").write_text(
        "class Graph:\n"
        "    def invoke(self, state):\n"
        "        step = {'step': 'look', 'agent': 'phone', 'seconds': 1.0, 'bytes': {'a-b': 2000},\n"
        "                'parts': {'device': 0.2, 'link': 0.5, 'server': 0.3}}\n"
        "        old = {'step': 'answer', 'agent': 'hub', 'seconds': 1.0}\n"
        "        return {'messages': [type('M', (), {'content': 'a cat'})], 'trace': [step, old]}\n"
        "graph = Graph()\n"
    )
    connect = running._connect
    monkeypatch.setattr(running, "_connect", lambda topology: connect(topology, local=True))
    running.ask("What?", images=[], graph=f"{tmp_path / 'graph.py'}:graph", topology="home", trace=True)
    look, answer = capsys.readouterr().err.splitlines()
    assert " ".join(look.split()) == "look phone 1.000 s 2.0 KB ok device 0.200 s link 0.500 s server 0.300 s"
    assert answer.endswith("ok")
