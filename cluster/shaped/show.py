"""Prints the state of a cluster for people, or as one JSON object."""

import json as jsonlib
from typing import Any

from aiflow.units import show_bytes


def status(found: dict[str, Any], *, json: bool) -> None:
    """Prints what ``manage.status`` found."""
    print(f"cluster {found['name']}" + (f"  {found['address']}" if found["address"] else "  without Ray"))
    for name, node in found["nodes"].items():
        ray = ("ray" if node["ray"] else "no ray") if found["address"] else ""
        print(f"  {name:<14} {node['tier']:<7} {node['address']:<13} {node['processes']:>3} processes  {ray}")
    for name, link in found["links"].items():
        rate = f"{show_bytes(link['rate_up'])}/s up, {show_bytes(link['rate_down'])}/s down"
        rest = f"rtt {link['rtt'] * 1e3:g} ms, jitter {link['jitter'] * 1e3:g} ms, loss {link['loss']:.1%}"
        print(f"  {name:<22} {'up  ' if link['up'] else 'DOWN'}  {rate}, {rest}  ({link['by']})")
    if json:
        print(jsonlib.dumps(found))
