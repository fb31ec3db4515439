"""Builds the wheel, installs it alone into a folder, and imports every module of it from there.

So a package that the mapping forgot, a data file that does not ship, or an import that only works in the checkout
is found before a user finds it.
"""

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DATA = [
    "aiflow/py.typed",
    "aiflow/bench/report/data.js",
    "aiflow/bench/report/list.js",
    "aiflow/bench/report/question.js",
    "aiflow/bench/report/report.css",
    "aiflow/bench/report/report.html",
    "aiflow/bench/report/report.js",
    "aiflow/diffusion/weights/depth/model_index.json",
    "aiflow/diffusion/weights/motion/evaluator/diffusion_pytorch_model.safetensors",
    "aiflow/diffusion/weights/motion/ins/diffusion_pytorch_model.safetensors",
    "aiflow/diffusion/weights/video/transformer/diffusion_pytorch_model.safetensors",
    "aiflow/examples/home.yaml",
    "aiflow/nano/weights/base/model.safetensors",
    "aiflow/nano/weights/family/drafter/model.safetensors",
    "aiflow/nano/weights/family/tofc/model.safetensors",
    "aiflow/nano/weights/family/model.safetensors",
    "aiflow/nano/weights/hpcd/model.safetensors",
]
IMPORT_ALL = """
import importlib, pkgutil, sys
import aiflow
assert aiflow.__file__.startswith(sys.argv[1]), aiflow.__file__
names = [m.name for m in pkgutil.walk_packages(aiflow.__path__, "aiflow.") if not m.name.startswith("aiflow.examples.")]
for name in names:
    importlib.import_module(name)
print(f"imported {len(names)} modules from the wheel")
"""


def main() -> None:
    """Exits with the code of the first step that fails."""
    with tempfile.TemporaryDirectory() as folder:
        source, out, site = (Path(folder) / part for part in ("source", "out", "site"))
        run("git", "clone", "-q", str(ROOT), str(source))
        python = sys.executable
        run(python, "-m", "build", "--wheel", "--no-isolation", "-o", str(out), str(source), quiet=True)
        [wheel] = out.glob("*.whl")
        missing = set(DATA) - set(zipfile.ZipFile(wheel).namelist())
        if missing:
            sys.exit(f"the wheel lacks {sorted(missing)}")
        run(python, "-m", "zipfile", "-e", str(wheel), str(site))
        # -P and an empty folder: nothing of the checkout is importable; PYTHONPATH goes before the editable mapping.
        run(python, "-P", "-c", IMPORT_ALL, str(site), cwd=folder, env_path=str(site))


def run(*command: str, cwd: str | None = None, env_path: str = "", quiet: bool = False) -> None:
    """Runs a command; on failure shows its output and exits."""
    import os

    env = {**os.environ, "PYTHONPATH": env_path} if env_path else None
    done = subprocess.run(command, cwd=cwd, env=env, text=True, capture_output=quiet, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command[:4])} failed\n{(done.stdout or '') + (done.stderr or '')}")


if __name__ == "__main__":
    main()
