"""Lays the rooms out as one package of symbolic links under build/tree, for tools that follow folders, not mappings.

Prints the folder that holds the package, for MYPYPATH and PYTHONPATH.
"""

import shutil
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TREE = ROOT / "build" / "tree"


def main() -> None:
    """Makes the links anew."""
    shutil.rmtree(TREE, ignore_errors=True)
    package = TREE / "aiflow"
    package.mkdir(parents=True)
    rooms = [marker.parent for marker in ROOT.glob("*/__init__.py") if marker.parent.name != "tests"]
    for source in [*(ROOT / "src" / "aiflow").iterdir(), *rooms]:
        if source.name != "__pycache__":
            (package / source.name).symlink_to(source)
    print(TREE)


if __name__ == "__main__":
    main()
