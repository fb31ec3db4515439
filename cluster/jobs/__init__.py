"""Jobs: a script or a graph, sent to a Ray cluster whose nodes need not have aiflow."""

from aiflow.cluster.jobs.client import Job, Jobs
from aiflow.cluster.jobs.result import report

__all__ = ["Job", "Jobs", "report"]
