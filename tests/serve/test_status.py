"""``/status`` and the metrics of agents, links and steps."""

import httpx
import openai
import pytest

TALK = [{"role": "user", "content": "one two three"}]
LINKS = {
    "nodes": {"cloud": "cloud", "phone": "device", "tablet": "device"},
    "links": [{"between": ["device", "cloud"], "rate": "2 MB/s", "rtt": "4 ms"}],
}
TEAM = {"server": "hub", "devices": ["math", "broken"], "select": "all", "revise": False, "deadline": "2 s"}


@pytest.fixture
def team(serve):
    """A gateway whose links take time, after one request to a graph and one that failed."""
    with serve(topology=LINKS, emulate=True, graphs={"team": TEAM}) as served:
        with openai.OpenAI(base_url=served.url, api_key="x", max_retries=0) as client:
            client.chat.completions.create(model="team", messages=TALK)
            with pytest.raises(openai.APIStatusError):
                client.chat.completions.create(model="broken", messages=TALK)
        yield served


def test_status(team):
    found = httpx.get(f"{team.root}/status").json()
    assert found["nodes"]["phone"] == {"tier": "device", "alive": True}
    math, broken = found["agents"]["math"], found["agents"]["broken"]
    assert (math["state"], math["asked"], math["answered"], math["in_flight"]) == ("up", 1, 1, 0)
    assert math["completion_tokens"] == 5
    assert broken["errors"] == {"BackendError": 2}
    link = found["links"]["phone-cloud"]
    assert link["measured"]
    assert link["bytes"] > 100
    assert link["rtt"] == pytest.approx(0.004, rel=0.5)
    assert link["rate_up"] == pytest.approx(2e6, rel=0.9)
    untouched = found["links"]["tablet-cloud"]
    assert (untouched["measured"], untouched["rate_up"], untouched["rtt"]) == (False, 2e6, 0.004)


def test_metrics_of_agents_links_and_steps(team):
    lines = httpx.get(f"{team.root}/metrics").text.splitlines()
    values = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    assert values['aiflow_agent_requests_total{agent="math",node="phone"}'] == "1.0"
    assert values['aiflow_agent_running{agent="math",node="phone"}'] == "0.0"
    assert values['aiflow_agent_errors_total{agent="broken",error="BackendError",node="cloud"}'] == "2.0"
    assert values['aiflow_step_seconds_count{graph="team",step="answer"}'] == "1.0"
    assert values['aiflow_link_rate_bytes_per_second{direction="up",link="tablet-cloud"}'] == "2e+06"
    assert values['aiflow_link_measured{direction="up",link="tablet-cloud"}'] == "0.0"
    assert values['aiflow_link_measured{direction="down",link="phone-cloud"}'] == "1.0"
    assert float(values['aiflow_link_delay_seconds{direction="down",link="phone-cloud"}']) > 0


def test_an_agent_that_does_not_say_so_is_not_up(serve):
    with serve() as served:
        agent = served.cluster["echo"]

        async def silent():
            import asyncio

            await asyncio.sleep(60)

        agent.host.totals = silent
        agent.host.starting = True
        found = httpx.get(f"{served.root}/status", timeout=5).json()
        again = httpx.get(f"{served.root}/status", timeout=5).json()
    assert found["agents"]["echo"]["state"] == again["agents"]["echo"]["state"] == "loading"
    assert found["agents"]["math"]["state"] == "up"


def test_it_needs_a_key_where_there_are_keys(tmp_path, serve):
    from aiflow.serve.keys import KeyFile

    key = KeyFile(tmp_path / "keys.json").add("me")
    with serve(keys=tmp_path / "keys.json") as served:
        assert httpx.get(f"{served.root}/status").status_code == 401
        assert httpx.get(f"{served.root}/status", headers={"authorization": f"Bearer {key}"}).status_code == 200
