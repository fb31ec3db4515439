"""Graphs as models: their answers, their pieces, what they cost, and who was late, dead or idle."""

import openai
import pytest

TALK = [{"role": "user", "content": "What is 12 times 7?"}]


@pytest.fixture
def client(served):
    with openai.OpenAI(base_url=served.url, api_key="none", max_retries=0, timeout=20) as made:
        yield made


def pieces(client, model):
    chunks = list(client.chat.completions.create(model=model, messages=TALK, stream=True))
    return [chunk.choices[0].delta.content for chunk in chunks if chunk.choices[0].delta.content], chunks[-1]


def test_the_costs_of_all_agents_and_who_failed(client):
    said = client.chat.completions.create(model="team", messages=TALK)
    assert said.choices[0].message.content == "The answer is 84."
    costs = said.model_extra["aiflow"]
    assert set(costs["agents"]) == {"hub", "math"}
    assert costs["agents"]["math"]["requests"] == 2  # the answer, and its revision
    assert sum(row["completion_tokens"] for row in costs["agents"].values()) == said.usage.completion_tokens
    assert list(costs["bytes"]) == ["phone-cloud"]
    assert costs["bytes"]["phone-cloud"] > 100
    assert costs["marks"] == [{"agent": "dead", "step": "answer", "mark": "dead", "error": "AgentDiedError"}]


def test_the_server_s_words_are_streamed(client):
    said, last = pieces(client, "team")
    assert "".join(said) == "The answer is 84."
    assert len(said) > 1
    assert last.model_extra["aiflow"]["agents"]["math"]["requests"] == 2


def test_names_in_a_ranking_are_not_streamed(client):
    """Where the server picks, the answer is a device's."""
    said, _ = pieces(client, "ranked")
    assert said == ["12 * 7 = 84"]


def test_a_graph_of_one_s_own(client):
    said, last = pieces(client, "spoken")
    assert "".join(said) == "The answer is 84."
    assert len(said) > 1
    assert set(last.model_extra["aiflow"]["agents"]) == {"hub"}


def test_options_reach_the_agents_of_a_graph(client):
    said = client.chat.completions.create(model="team", messages=TALK, max_tokens=2).choices[0]
    assert (said.message.content, said.finish_reason) == ("The answer", "length")


def test_graphs_report_no_log_probabilities(client):
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model="team", messages=TALK, logprobs=True)
    assert caught.value.param == "logprobs"


def test_idle_members(serve):
    agents = {
        "hub": {"node": "cloud", "model": "scripted:math"},
        "math": {"node": "phone", "model": "scripted:84", "about": "sums"},
        "verse": {"node": "tablet", "model": "scripted:rhyme", "about": "poems"},
    }
    graphs = {"team": {"server": "hub", "devices": ["math", "verse"], "select": 1, "revise": False}}
    with serve(agents=agents, graphs=graphs) as served, openai.OpenAI(base_url=served.url, api_key="x") as client:
        said = client.chat.completions.create(model="team", messages=TALK)
    assert said.model_extra["aiflow"]["marks"] == [{"agent": "verse", "mark": "idle"}]
