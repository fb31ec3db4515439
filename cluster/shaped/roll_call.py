"""Waits until N Ray nodes have joined a cluster, and prints the names of those that have.

``roll_call.py ADDRESS N SECONDS`` is started by path inside a namespace, because only there the cluster can be reached.
A node's name is its label aiflow-node.
"""

import sys
import time
from typing import Any


def main(address: str, count: int, seconds: float) -> None:
    """Prints one line of names, when there are ``count`` or the time is over."""
    from ray._raylet import GcsClient  # type: ignore[attr-defined]

    client, until = GcsClient(address=address), time.monotonic() + seconds
    names = _alive(client)
    while len(names) < count and time.monotonic() < until:
        time.sleep(0.2)
        names = _alive(client)
    print(*names)


def _alive(client: Any) -> list[str]:
    from ray.core.generated.gcs_pb2 import GcsNodeInfo

    infos = client.get_all_node_info(timeout=10, state_filter=GcsNodeInfo.GcsNodeState.ALIVE)
    return [info.labels.get("aiflow-node", "?") for info in infos.values()]


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))
