"""The chaos benchmark itself, small: an actor, a node and the head are killed, and no answer changes."""

import json
import subprocess
import sys

import pytest

from aiflow.cluster.shaped import kernel
from aiflow.errors import ClusterError

pytestmark = pytest.mark.cluster


def _allowed() -> bool:
    try:
        kernel.require()
    except ClusterError:
        return False
    return True


@pytest.mark.skipif(not _allowed(), reason="needs Linux, root and iproute2")
@pytest.mark.timeout(600)
def test_nothing_is_lost() -> None:
    command = [sys.executable, "-c", "from aiflow.cli import main; main()", "bench", "chaos"]
    command += ["--requests", "60", "--json"]
    faults = [word for kind in ("actor", "node", "head") for word in ("--fault", f"{kind}=1")]
    done = subprocess.run([*command, *faults], capture_output=True, text=True, timeout=560, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["requests"] == 60
    assert {key: found[key] for key in ("lost", "doubled", "mixed", "wrong_text")} == dict.fromkeys(
        ("lost", "doubled", "mixed", "wrong_text"), 0
    )
    assert {fault["kind"] for fault in found["faults"]} == {"actor", "node", "head"}
