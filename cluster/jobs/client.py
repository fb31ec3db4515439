"""Jobs on a Ray cluster: submit, follow, result, cancel. Talks to the head's dashboard; Ray need not run here.

A job gets aiflow as a wheel and the user's files as its working directory; the head needs neither. What a job does is
not known here.
"""

import asyncio
import contextlib
import json
import logging
import os
import re
import secrets
import shlex
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiflow.cluster.data import topology_data
from aiflow.cluster.jobs import checks, result, wheel
from aiflow.cluster.topology import Topology
from aiflow.errors import ClusterError, CredentialError, DeadlineError, InputError, UsageError, suggest

ENDED = ("SUCCEEDED", "FAILED", "STOPPED")
TOPOLOGY = "topology.yaml"
_LOCAL = "http://127.0.0.1:8265"
_POLL = 0.3


@dataclass(frozen=True, kw_only=True)
class Job:
    """What to run: ``command`` in a folder with copies of ``files``, on a cluster that has what ``topology`` names.

    The topology lies in that folder too, as ``TOPOLOGY``, for ``aiflow.connect(TOPOLOGY, address="auto")``.
    ``cpus``, ``gpus`` and ``resources`` are for the job's own process; agents ask for theirs when they are placed.
    ``name``: what runs, in a word; the job's id begins with it.
    """

    command: Sequence[str]
    files: Sequence[Path] = ()
    topology: Topology | None = None
    pip: Sequence[str] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    cpus: float = 0.0
    gpus: float = 0.0
    resources: Mapping[str, float] = field(default_factory=dict)
    weights: bool = True
    name: str = "job"


class Jobs:
    """The jobs of the cluster at ``address``: its dashboard (``http://HEAD:8265``, or ``HEAD:8265``).

    None: what RAY_API_SERVER_ADDRESS says, or this machine. Raises ClusterError if nothing answers.
    """

    def __init__(self, address: str | None = None) -> None:
        self.address = url(address)
        from ray.job_submission import JobSubmissionClient

        for chatty in (
            "ray.dashboard.modules.dashboard_sdk",
            "ray.dashboard.modules.job.sdk",
            "ray._private.runtime_env.packaging",
        ):
            logging.getLogger(chatty).setLevel(logging.WARNING)  # each upload, at some length
        with _reached(self.address):
            self._client = JobSubmissionClient(self.address)

    def submit(self, job: Job) -> str:
        """Starts ``job`` and returns its id. Raises PlacementError if the cluster lacks something, InputError."""
        wanted = {"CPU": job.cpus, "GPU": job.gpus, **job.resources}
        wanted = {key: amount for key, amount in wanted.items() if amount}
        checks.check(self.nodes(), job.topology, wanted)
        packed = wheel.pack(weights=job.weights)
        with _folder(job) as folder, _reached(self.address):
            environment: dict[str, Any] = {
                "py_modules": [str(packed)],
                "working_dir": str(folder),
                "env_vars": {"PYTHONUNBUFFERED": "1", "PIP_RETRIES": "1", **job.env},
            }
            if job.pip:
                environment["pip"] = list(job.pip)
            id: str = self._client.submit_job(
                entrypoint=shlex.join(job.command),
                submission_id=f"{re.sub(r'[^A-Za-z0-9_.-]+', '-', job.name)[:40]}-{secrets.token_hex(4)}",
                metadata={"name": job.name, "nodes": ", ".join(job.topology.nodes) if job.topology else ""},
                runtime_env=environment,
                entrypoint_num_cpus=job.cpus or None,
                entrypoint_num_gpus=job.gpus or None,
                entrypoint_resources=dict(job.resources) or None,
            )
        return id

    def follow(self, id: str, say: Callable[[str], None], timeout: float | None = None) -> Any:
        """Passes on the log's lines until the job ends, and returns its result (None if it has none).

        Raises ClusterError that says why a job failed, and DeadlineError after ``timeout`` seconds (the job goes on).
        """
        try:
            asyncio.run(asyncio.wait_for(self._follow(id, say), timeout))
        except TimeoutError:
            raise DeadlineError(f"job {id} has not ended within {timeout:g} s") from None
        return self.result(id)

    def result(self, id: str) -> Any:
        """The result of a job that has ended. Raises ClusterError if it failed, was cancelled or still runs."""
        state, message = self.state(id)
        if state == "FAILED":
            raise checks.failure(id, message, self.log(id))
        if state == "STOPPED":
            raise ClusterError(f"job {id} was cancelled.")
        if state != "SUCCEEDED":
            raise ClusterError(f"job {id} is {state.lower()}; wait for it with: aiflow jobs logs {id} --follow")
        return result.find(self.log(id))

    def state(self, id: str) -> tuple[str, str]:
        """PENDING, RUNNING, SUCCEEDED, FAILED or STOPPED, and what Ray says about it. Raises UsageError."""
        info = self._known(id)
        return info.status.value, info.message or ""

    def log(self, id: str) -> str:
        """All that a job has printed so far. Raises UsageError if there is no such job."""
        self._known(id)
        with _reached(self.address):
            text: str = self._client.get_job_logs(id)
        return text

    def cancel(self, id: str, deadline: float = 30.0) -> bool:
        """Ends a job with all that it started, and waits for that; False if it had ended. Raises ClusterError."""
        if self.state(id)[0] in ENDED:
            return False
        with _reached(self.address):
            self._client.stop_job(id)
        until = time.monotonic() + deadline
        while self.state(id)[0] not in ENDED:
            if time.monotonic() > until:
                raise ClusterError(f"job {id} did not stop within {deadline:g} s; try again.")
            time.sleep(_POLL)
        return True

    def all(self) -> list[dict[str, Any]]:
        """Every submitted job of the cluster, the newest first: id, state, command, seconds."""
        with _reached(self.address):
            found = [info for info in self._client.list_jobs() if info.submission_id]
        rows = [
            {
                "id": info.submission_id,
                "state": info.status.value,
                "command": info.entrypoint,
                "started": (info.start_time or 0) / 1e3,
                "seconds": ((info.end_time or time.time() * 1e3) - (info.start_time or time.time() * 1e3)) / 1e3,
            }
            for info in found
        ]
        return sorted(rows, key=lambda row: -row["started"])

    async def _follow(self, id: str, say: Callable[[str], None]) -> None:
        while (state := self.state(id))[0] == "PENDING":
            await asyncio.sleep(_POLL)
        if state[0] == "FAILED" and checks.setup_reason(state[1]):
            return
        lines = result.Lines()
        try:
            async for piece in self._client.tail_job_logs(id):
                for line in lines.feed(piece):
                    say(line)
        except (RuntimeError, OSError) as error:
            raise ClusterError(f"the log of job {id} broke off: {error}") from error
        for line in lines.end():
            say(line)
        while self.state(id)[0] not in ENDED:  # its log ends a moment before it does
            await asyncio.sleep(_POLL)

    def _known(self, id: str) -> Any:
        with _reached(self.address):
            try:
                return self._client.get_job_info(id)
            except RuntimeError as error:
                if "404" not in str(error):
                    raise
        raise UsageError(f"there is no job {id!r}; {suggest(id, [row['id'] for row in self.all()[:5]])}")

    def nodes(self, deadline: float = 30.0) -> list[Any]:
        """The cluster's living nodes, as Ray's state API has them. Raises ClusterError if it has none by ``deadline``.

        A head that has just started takes jobs some seconds before it knows its nodes.
        """
        from ray.util.state import list_nodes

        until = time.monotonic() + deadline
        problem = ClusterError(
            f"the cluster at {self.address} has no living nodes; see that Ray runs there: ray status"
        )
        while time.monotonic() < until:
            try:
                with _reached(self.address):
                    found = list_nodes(address=self.address, detail=True, limit=10_000, raise_on_missing_output=False)
            except ClusterError as error:
                problem, found = error, []
            if alive := [node for node in found if node.state == "ALIVE"]:
                return alive
            time.sleep(_POLL)
        raise problem


def url(address: str | None) -> str:
    """The dashboard's URL from what a user gives. Raises UsageError."""
    given = address or os.environ.get("RAY_API_SERVER_ADDRESS") or _LOCAL
    full = given if "://" in given else f"http://{given}"
    if not full.startswith(("http://", "https://")):
        raise UsageError(f"address {given!r} is not a dashboard; write http://HEAD:8265.")
    return full.rstrip("/")


@contextlib.contextmanager
def _reached(address: str) -> Iterator[None]:
    from ray.exceptions import AuthenticationError
    from ray.util.state.exception import RayStateApiException

    try:
        yield
    except AuthenticationError as error:
        reason = str(error).partition("\n")[0]
        remedy = "set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN_PATH to the file with the cluster's token."
        raise CredentialError(f"the cluster at {address} does not let us in ({reason}); {remedy}") from None
    except (ConnectionError, OSError) as error:
        remedy = "jobs go to the head's dashboard (port 8265, not 6379); start the head with --include-dashboard=true."
        raise ClusterError(f"no Ray dashboard answers at {address}: {_short(error)}; {remedy}") from error
    except (RuntimeError, RayStateApiException) as error:
        raise ClusterError(f"the cluster at {address} refused: {_short(error)}") from error


@contextlib.contextmanager
def _folder(job: Job) -> Iterator[Path]:
    """A folder with copies of the user's files, for Ray to ship. Raises InputError."""
    with tempfile.TemporaryDirectory(prefix="aiflow-job-") as name:
        if job.topology:
            data = topology_data(job.topology.model_copy(update={"address": None}))
            (Path(name) / TOPOLOGY).write_text(json.dumps(data), encoding="utf-8")
        for path in job.files:
            try:
                if path.is_dir():
                    shutil.copytree(path, Path(name) / path.name, ignore=shutil.ignore_patterns("__pycache__", ".git"))
                else:
                    shutil.copy(path, Path(name) / path.name)
            except (OSError, shutil.Error) as error:
                raise InputError(f"{str(path)!r} cannot be shipped: {error}") from None
        yield Path(name)


def _short(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[-1][:300]
