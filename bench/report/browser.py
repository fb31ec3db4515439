"""A headless Chromium, driven over a pipe by its DevTools protocol: enough to open a page and ask it things.

Needs no package and no port. Used to measure how fast a report opens, and to test what its script shows.
"""

import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Self

from aiflow.errors import UsageError

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--remote-debugging-pipe",
    "--disable-extensions",
)
SECONDS = 30.0
START = """
import fcntl, os, sys
ends = [fcntl.fcntl(int(end), fcntl.F_DUPFD, 10) for end in sys.argv[1:3]]
for place, end in zip((3, 4), ends):
    os.dup2(end, place)
os.execvp(sys.argv[3], sys.argv[3:])
"""
"""Chromium reads commands from file descriptor 3 and answers on 4, whatever numbers the pipe has here."""


def chromium() -> str | None:
    """Where a Chromium is: ``$CHROMIUM``, else the first on the path; None without."""
    return os.environ.get("CHROMIUM") or next((found for name in NAMES if (found := shutil.which(name))), None)


class Browser:
    """One browser with one tab. Use as a context manager. Raises UsageError where there is no Chromium."""

    def __init__(self) -> None:
        program = chromium()
        if program is None:
            raise UsageError(f"no Chromium on the path ({', '.join(NAMES)}); install one or set CHROMIUM.")
        self._folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        told, self._in = os.pipe()
        self._out, said = os.pipe()
        words = (program, *FLAGS, f"--user-data-dir={self._folder.name}", "about:blank")
        self._process = subprocess.Popen(
            (sys.executable, "-ISc", START, str(told), str(said), *words),
            pass_fds=(told, said),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(told)
        os.close(said)
        self._buffer, self._number, self._session = b"", 0, ""
        self.errors: list[str] = []
        """What the page's script has thrown or logged as an error."""

    def __enter__(self) -> Self:
        try:
            pages = self.send("Target.getTargets")["targetInfos"]
            page = next(target["targetId"] for target in pages if target["type"] == "page")
            self._session = self.send("Target.attachToTarget", targetId=page, flatten=True)["sessionId"]
            for domain in ("Page", "Runtime", "Performance", "Network"):
                self.send(f"{domain}.enable")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._session = ""
            if self._process.poll() is None:
                self.send("Browser.close")
            self._process.wait(10)
        except (OSError, TimeoutError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()
        finally:
            os.close(self._in)
            os.close(self._out)
            self._folder.cleanup()

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """The result of one command. Raises RuntimeError where it is refused, TimeoutError after ``SECONDS``."""
        self._number += 1
        told: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            told["sessionId"] = self._session
        os.write(self._in, json.dumps(told).encode() + b"\0")
        end = time.monotonic() + SECONDS
        while (message := self._next(end)).get("id") != self._number:
            self._note(message)
        if "error" in message:
            raise RuntimeError(f"{method}: {message['error'].get('message')}")
        result: dict[str, Any] = message["result"]
        return result

    def open(self, page: Path, hash: str = "") -> None:
        """Goes to a page on disk; does not wait until it has loaded."""
        self.send("Page.navigate", url=page.resolve().as_uri() + hash)

    def ask(self, expression: str) -> Any:
        """The value of a JavaScript expression, awaited. Raises RuntimeError where it throws."""
        found = self.send("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in found:
            raise RuntimeError(f"{expression[:80]}: {found['exceptionDetails'].get('exception', found)}")
        return found["result"].get("value")

    def until(self, expression: str) -> Any:
        """The first true value of an expression, asked again and again. Raises TimeoutError after ``SECONDS``."""
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            if value := self.ask(expression):
                return value
            time.sleep(0.002)
        raise TimeoutError(f"{expression[:80]} did not become true in {SECONDS:.0f} s; errors: {self.errors}")

    def _note(self, message: dict[str, Any]) -> None:
        if message.get("method") == "Runtime.exceptionThrown":
            self.errors.append(str(message["params"]["exceptionDetails"]))
        if message.get("method") == "Network.requestWillBeSent":
            url = message["params"]["request"]["url"]
            if not url.startswith(("file:", "about:", "data:")):
                self.errors.append(f"asks the network for {url}")

    def _next(self, end: float) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            if not select.select([self._out], [], [], max(end - time.monotonic(), 0))[0]:
                raise TimeoutError(f"Chromium said nothing for {SECONDS:.0f} s.")
            if not (found := os.read(self._out, 1 << 20)):
                raise OSError("Chromium has ended.")
            self._buffer += found
        line, self._buffer = self._buffer.split(b"\0", 1)
        message: dict[str, Any] = json.loads(line)
        return message
