import pytest

from aiflow.errors import UsageError
from aiflow.graphs import device_server, sqlite


@pytest.mark.parametrize(
    ("how", "match"),
    [
        ({"select": 0}, 'select=0 is not usable; give an int >= 1 or "all"'),
        ({"select": True}, "select=True"),
        ({"select": 1.5}, "select=1.5"),
        ({"select": "some"}, "select='some'"),
        ({"selector": "severs"}, "selector='severs' is unknown; did you mean 'server'?"),
        ({"selector": None}, "selector=None is unknown; use one of 'server', 'tfidf', 'all'"),
        ({"merge": "sythesis"}, "merge='sythesis' is unknown; did you mean 'synthesis'?"),
        ({"merge": 3}, "merge=3 is unknown"),
        ({"revise": True}, "revise=True is unknown; use one of 'selected', 'all'"),
        ({"revise": "none"}, "revise='none' is unknown"),
        ({"rounds": 0}, "rounds=0"),
        ({"rounds": 2, "revise": False}, "rounds=2 without revision"),
        ({"deadline": 0}, "deadline=0 is not usable; give seconds > 0, or None"),
        ({"deadline": -1}, "deadline=-1"),
        ({"deadline": "2 s"}, "deadline='2 s'"),
        ({"deadline": float("nan")}, "deadline=nan"),
        ({"deadline": float("inf")}, "deadline=inf"),
        ({"server_deadline": 0}, "server_deadline=0"),
        ({"quorum": 0}, "quorum=0"),
        ({"quorum": 3}, "quorum=3 exceeds select=2"),
        ({"quorum": 6, "select": "all"}, "quorum=6 exceeds the 5 devices"),
        ({"grace": -1}, "grace=-1 is not usable; give seconds >= 0"),
        ({"options": {"max_tokens": 3}}, "options={'max_tokens': 3} is not an aiflow.Options"),
        ({"server_options": 3}, "server_options=3"),
        ({"context_limit": 10}, "context_limit=10 is not usable; give an int >= 200 or None"),
        ({"measure": 3}, "measure=3"),
        ({"devices": []}, "devices is empty"),
        ({"devices": None}, "devices=None is no list of agents"),
        ({"devices": "math"}, "devices='math' is no list of agents"),
        ({"devices": ["math"]}, r"a device must be an agent, got 'math'; make one with cluster.agent"),
        ({"devices": "twice"}, "several devices are named 'math'; give each its own name"),
        ({"server": "hub"}, "server must be an agent, got 'hub'"),
    ],
)
def test_arguments_that_cannot_be_meant(cast, how, match):
    how = {"server": cast.hub(), "devices": cast.team(), **how}
    if how["devices"] == "twice":
        how["devices"] = cast.team() + cast.team()[:1]
    with pytest.raises(UsageError, match=match.replace("(", r"\(").replace("?", r"\?")) as error:
        device_server(**how)
    assert "\n" not in str(error.value)


def test_agents_may_come_as_any_sequence(cast):
    assert device_server(cast.hub(), tuple(cast.team()))


def test_checkpoints_need_a_folder(tmp_path):
    for path in (tmp_path / "none" / "x.sqlite", tmp_path, 3.5):
        with pytest.raises(UsageError, match="no checkpoints in"):
            sqlite(path)
