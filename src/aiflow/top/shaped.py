"""Frames of a shaped cluster on this machine (``aiflow cluster up``): nodes and links; agents say nothing there."""

import time

from aiflow.cluster.shaped import manage
from aiflow.top.frame import Frame, LinkRow, NodeRow


class Shaped:
    """The cluster ``name``. Raises ClusterError if there is none."""

    def __init__(self, name: str) -> None:
        self.name = name

    def frame(self) -> Frame:
        """How it is now."""
        found = manage.status(self.name)
        nodes = {
            name: NodeRow(
                tier=row["tier"],
                state="up" if row["ray"] or (not found["address"] and row["processes"]) else "down",
                note=f"{row['address']}, {row['processes']} processes",
            )
            for name, row in found["nodes"].items()
        }
        links = {
            name: LinkRow(
                state="up" if row["up"] else "down", rate_up=row["rate_up"], rate_down=row["rate_down"], rtt=row["rtt"]
            )
            for name, row in found["links"].items()
        }
        where = f"  {found['address']}" if found["address"] else ""
        return Frame(source=f"cluster {self.name}{where}", moment=time.monotonic(), nodes=nodes, links=links)

    def close(self) -> None:
        """Nothing is kept."""
