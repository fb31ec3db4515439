"""Makes, changes and removes one link of two namespaces: a veth pair with token buckets, or a TUN pair and a shaper.

The kernel's token bucket costs nothing and knows a rate only; the shaper knows everything (see ``shaper``). A link that
comes to need the other kind is replaced, its routes too; connections over it live on.
"""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
from pathlib import Path

from aiflow.cluster.shaped import kernel, plan, shaper
from aiflow.cluster.shaped.plan import Host
from aiflow.cluster.topology import Link
from aiflow.errors import ClusterError

# Of one packet, every late timer would cost rate; of many, the start of each message would pass for nothing. Measured.
_BURST = (shaper.MTU + plan.ETHERNET) * 3 // 2
_NOTHING = 10  # bytes: a bucket that no packet fits into drops them all
_PYTHON = "-I", "-S"  # starts at once: nothing but the standard library
_START = 30.0  # seconds that a shaper may take to start on a busy machine


def lay(link: Link, up: bool, ends: tuple[Host, Host], device: str, file: Path) -> None:
    """Brings a link to this state, whatever it was before. ``file`` holds the settings of its shaper, if it has one."""
    is_plain, was_shaper, exists = plan.plain(link), file.exists(), _exists(ends[0], device)
    if exists and is_plain == was_shaper:
        remove(ends, device, file)
        exists = False
    if not is_plain:
        _write(file, link, up)
    if not exists:
        (_veth if is_plain else _tun)(ends, device)
    if is_plain:
        _buckets(link, up, ends, device)
    elif running := shapers(file):
        kernel.send(running[0], signal.SIGHUP)
    else:
        _spawn(file, ends, device)
    if not exists:
        for host in ends:
            kernel.ip(host.namespace, [host.route(to, *way) for to, way in host.routes.items() if way[0] == device])


def remove(ends: tuple[Host, Host], device: str, file: Path) -> None:
    """Removes a link; no error if parts of it are gone."""
    kernel.end(shapers(file))
    file.unlink(missing_ok=True)
    for host in ends:
        with contextlib.suppress(ClusterError):  # a veth goes with its other end
            kernel.ip(host.namespace, [f"link del {device}"])


def shapers(file: Path) -> list[int]:
    """Processes that shape by these settings: one at most."""
    return kernel.running(*_PYTHON, str(file))


def _exists(host: Host, device: str) -> bool:
    found = json.loads(kernel.run("ip", "-n", host.namespace, "-json", "link", "show") or "[]")
    return any(entry.get("ifname") == device for entry in found)


def _veth(ends: tuple[Host, Host], device: str) -> None:
    first, second = (host.namespace for host in ends)
    kernel.run("ip", "link", "add", device, "netns", first, "type", "veth", "peer", "name", device, "netns", second)
    for host in ends:
        kernel.ip(host.namespace, [f"link set {device} mtu {shaper.MTU} up"])


def _buckets(link: Link, up: bool, ends: tuple[Host, Host], device: str) -> None:
    for host, trace in zip(ends, (link.rate.up, link.rate.down), strict=True):
        rate = trace.points[0][1]
        bits = int(plan.packets(rate, plan.ETHERNET) * 8)
        burst, limit = (max(_BURST, bits // 80_000), plan.limit(rate)) if up else (_NOTHING, _NOTHING)
        bucket = f"tbf rate {bits}bit burst {burst}b limit {limit}b"
        kernel.run("tc", "-n", host.namespace, *f"qdisc replace dev {device} root {bucket}".split())


def _tun(ends: tuple[Host, Host], device: str) -> None:
    for host in ends:
        queue = f"link set {device} mtu {shaper.MTU} txqueuelen 5000 up"
        kernel.ip(host.namespace, [f"tuntap add mode tun name {device}", queue])


def _spawn(file: Path, ends: tuple[Host, Host], device: str) -> None:
    log = file.with_suffix(".log")
    command = [sys.executable, *_PYTHON, shaper.__file__, str(file), *(host.namespace for host in ends), device]
    with log.open("wb") as errors:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, start_new_session=True, cwd="/"
        )
    assert process.stdout is not None
    with process.stdout as said:
        ready = select.select([said], [], [], _START)[0] and said.readline()
    if not ready:
        kernel.end([process.pid])
        process.wait()
        reason = log.read_text(errors="replace").strip().rpartition("\n")[2]
        raise ClusterError(f"the shaper of {device} did not start: {reason or f'not ready after {_START:g} s'}")


def _write(file: Path, link: Link, up: bool) -> None:
    new = file.with_suffix(".new")
    new.write_text(json.dumps(plan.settings(link, up)), encoding="utf-8")
    os.replace(new, file)
