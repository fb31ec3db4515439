"""Maps every room (a folder at the root) to the package ``aiflow.<room>``; discovers nested packages."""

from pathlib import Path

from setuptools import find_packages, setup

ROOMS = sorted(p.parent.name for p in Path(__file__).parent.glob("*/__init__.py") if p.parent.name != "tests")

setup(
    package_dir={"aiflow": "src/aiflow", **{f"aiflow.{room}": room for room in ROOMS}},
    packages=[
        *find_packages("src"),
        *(f"aiflow.{room}{'.' + sub if sub else ''}" for room in ROOMS for sub in ["", *find_packages(room)]),
    ],
)
