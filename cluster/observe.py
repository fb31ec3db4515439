"""Looks at a running Ray cluster from outside: its nodes and the agents in it. ``python -m aiflow.cluster.observe``.

A process of its own, because Ray ends the process of a driver whose head has been gone for a minute. It prints what it
sees as a line of JSON, again and again, until nobody reads it.
"""

import json
import re
import sys
import time
import urllib.request
from contextlib import nullcontext
from http.client import HTTPException
from typing import Any

from aiflow.cluster.raylets import loopback
from aiflow.cluster.runtime import PREFIX, _check_reachable, _init
from aiflow.cluster.topology import TIERS
from aiflow.errors import AiflowError, ClusterError

NAMED = re.compile(r"agent (?P<agent>.+) on (?P<node>\S+) [0-9a-f]{8}")
CLASS = "ModelActor"
_STATES = {"ALIVE": "up", "RESTARTING": "restarting", "DEAD": "dead"}  # others: it is only starting
_PATIENCE = 0.7  # seconds in which agents have to say what they did
_SHOWN = 60.0  # seconds for which an agent that has ended is shown


class Observer:
    """Joined to the cluster at ``address`` as a driver that starts nothing. Raises ClusterError."""

    def __init__(self, address: str) -> None:
        import ray

        _check_reachable(address)
        try:
            with loopback() if address.startswith("127.") else nullcontext():
                _init(address)
        except (ConnectionError, OSError, RuntimeError, ValueError) as error:
            raise ClusterError(f"no Ray cluster answers at {address!r}: {str(error).splitlines()[0]}") from error
        self._url = ray._private.worker.get_dashboard_url()
        self._asked: dict[str, Any] = {}  # of each actor, the question that it has not answered yet
        self._told: dict[str, Any] = {}

    def look(self) -> dict[str, Any]:
        """Nodes and agents by name."""
        return {"nodes": self._nodes(), "agents": self._agents()}

    def _nodes(self) -> dict[str, Any]:
        import ray

        used, found = self._used(), {}
        for node in ray.nodes():
            tier, names = _offered(node)
            cpu, memory = used.get(node["NodeID"], (None, None)) if node["Alive"] else (None, None)
            note = f"{node['NodeManagerAddress']}, Ray {node['NodeID'][:8]}"
            row = {"tier": tier, "state": "up" if node["Alive"] else "gone", "cpu": cpu, "memory": memory, "note": note}
            for name in names or [f"{node['NodeManagerAddress']} {node['NodeID'][:4]}"]:
                if name not in found or node["Alive"]:
                    found[name] = row
        return found

    def _used(self) -> dict[str, tuple[float, tuple[float, float]]]:
        """CPU and memory as the dashboard sees them, by node; nothing where there is none, or it does not say."""
        if not self._url:
            return {}
        try:
            with urllib.request.urlopen(f"http://{self._url}/nodes?view=summary", timeout=2) as reply:
                rows = json.load(reply)["data"]["summary"]
            return {
                row["raylet"]["nodeId"]: (
                    float(row["cpu"]),
                    (float(row["mem"][0] - row["mem"][1]), float(row["mem"][0])),
                )
                for row in rows
                if row.get("cpu") is not None and row.get("mem")
            }
        except (OSError, HTTPException, ValueError, KeyError, TypeError, IndexError):
            return {}

    def _agents(self) -> dict[str, Any]:
        import ray

        table = ray._private.state.actors().values()
        rows = {row["ActorID"]: row for row in table if row["ActorClassName"] == CLASS and NAMED.fullmatch(row["Name"])}
        self._ask({identity: row["Name"] for identity, row in rows.items() if row["State"] == "ALIVE"})
        found: dict[str, Any] = {}
        for identity, row in sorted(rows.items(), key=lambda pair: pair[1]["StartTime"]):
            if row["State"] == "DEAD" and time.time() - row["EndTime"] / 1000 > _SHOWN:
                continue
            named = NAMED.fullmatch(row["Name"])
            assert named is not None
            state = _STATES.get(row["State"], "loading")
            if state == "up" and identity not in self._told:
                state = "loading"
            name = named["agent"] if named["agent"] not in found else row["Name"].removeprefix("agent ")
            found[name] = {"node": named["node"], "state": state, **self._told.get(identity, {})}
        return found

    def _ask(self, names: dict[str, str]) -> None:
        """Asks each actor for its totals, unless it still owes them, and notes what those say that answer in time."""
        import ray
        from ray.exceptions import RayError

        for identity, name in names.items():
            if identity not in self._asked:
                try:
                    self._asked[identity] = ray.get_actor(name, namespace="aiflow").totals.remote()
                except ValueError:  # it has ended meanwhile, or is in another namespace
                    continue
        ready, _ = (
            ray.wait(list(self._asked.values()), num_returns=len(self._asked), timeout=_PATIENCE)
            if self._asked
            else ([], [])
        )
        for identity, question in list(self._asked.items()):
            if question in ready:
                del self._asked[identity]
                try:
                    done = ray.get(question)
                except RayError:
                    self._told.pop(identity, None)
                else:
                    self._told[identity] = {
                        "in_flight": done.in_flight,
                        "answered": done.answered,
                        "errors": done.errors,
                        "tokens": done.usage.completion_tokens,
                    }


def _offered(node: dict[str, Any]) -> tuple[str, list[str]]:
    """The tier and the topology's nodes that a Ray node stands for."""
    marks = [key.removeprefix(PREFIX) for key in node["Resources"] if key.startswith(PREFIX)]
    labels = node.get("Labels") or {}
    tiers = [mark for mark in marks if mark in TIERS] or [label for label in (labels.get("aiflow-tier"),) if label]
    names = [mark for mark in marks if mark not in TIERS] or [label for label in (labels.get("aiflow-node"),) if label]
    return ", ".join(tiers) or "-", sorted(names or marks)  # a node may be called as its tier


def main(address: str, interval: float) -> None:
    """Prints what it sees until its reader is gone."""
    try:
        observer = Observer(address)
        while True:
            print(json.dumps(observer.look()), flush=True)
            time.sleep(interval)
    except AiflowError as error:
        print(json.dumps({"error": str(error)}), flush=True)
    except (BrokenPipeError, KeyboardInterrupt):
        pass


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))
