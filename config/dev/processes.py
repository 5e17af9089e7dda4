"""Run the product's processes as children: started together, restarted when they die, gone when we are."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

import requests

CHILD_GUARD = Path(__file__).with_name("child_guard.py")
SHORTEST_PAUSE, LONGEST_PAUSE = 0.5, 10.0  # seconds before a dead child is started again
STOP_PATIENCE = 15.0  # more than child_guard.GRACE


class CannotRun(Exception):
    """The processes cannot be started, or did not come up; the text says why, for people."""


class Stopped(BaseException):
    """A signal asked for the end. Like KeyboardInterrupt, it passes every `except Exception`."""


@dataclass(frozen=True)
class Program:
    """One process to keep running."""

    name: str
    command: list[str]
    env: dict[str, str] = field(default_factory=dict)
    is_ready: Callable[[], bool] = lambda: True
    restart_on_change: bool = False  # for what has no autoreload of its own


@dataclass
class Child:
    """A program as it runs now."""

    program: Program
    log: Path
    process: subprocess.Popen | None = None
    line: int = -1  # our end of the line to its guard
    started: float = 0.0
    pause: float = SHORTEST_PAUSE


class Supervisor:
    """Starts programs, restarts the ones that die, and ends all of them.

    A program's output goes to `<log_dir>/<name><suffix>.log`. What happens is told through `say`, in plain words.
    """

    def __init__(
        self,
        programs: list[Program],
        *,
        log_dir: Path,
        say: Callable[[str], None],
        suffix: str = "",
        watched: Path | None = None,
    ):
        self.children = [Child(each, log_dir / f"{each.name.replace(' ', '-')}{suffix}.log") for each in programs]
        self.log_dir, self.say, self.watched = log_dir, say, watched
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._watcher = threading.Thread(target=self._watch, name="supervisor", daemon=True)

    def start(self) -> None:
        """Start everything, and begin to restart what dies."""
        self.log_dir.mkdir(parents=True, exist_ok=True)
        for child in self.children:
            child.log.write_bytes(b"")
            self._spawn(child)
        self._watcher.start()

    def wait_until_ready(self, *, seconds: float = 60) -> None:
        """Wait until every program says that it is ready.

        :raises CannotRun: one was not in time; with the last lines it wrote
        """
        deadline = time.monotonic() + seconds
        for child in self.children:
            while not child.program.is_ready():
                if time.monotonic() > deadline:
                    raise CannotRun(
                        f"The {child.program.name} was not ready after {seconds:.0f} seconds."
                        f" The end of {child.log}:\n{last_lines(child.log)}"
                    )
                time.sleep(0.1)

    def stop(self) -> None:
        """End every child and whatever it started. Twice is harmless."""
        self._ended.set()
        with self._lock:
            for child in self.children:
                self._cut(child)
            deadline = time.monotonic() + STOP_PATIENCE
            for child in self.children:
                if child.process is None:
                    continue
                try:
                    child.process.wait(max(0.1, deadline - time.monotonic()))
                except subprocess.TimeoutExpired:
                    child.process.kill()
                    child.process.wait()
        if self._watcher.is_alive():
            self._watcher.join(5)

    def __enter__(self) -> "Supervisor":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _spawn(self, child: Child) -> None:
        theirs, child.line = os.pipe()  # our end is closed in every program we start: only our own end cuts it
        command = [sys.executable, "-I", str(CHILD_GUARD), str(theirs), *child.program.command]
        try:
            with child.log.open("ab") as log:
                child.process = subprocess.Popen(  # noqa: S603 - our own command lines
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env={**os.environ, "PYTHONUNBUFFERED": "1", **child.program.env},
                    pass_fds=[theirs],
                    start_new_session=True,  # Ctrl-C reaches us alone; the children are ended in good order
                )
        finally:
            os.close(theirs)
        child.started = time.monotonic()

    def _cut(self, child: Child) -> None:
        if child.line >= 0:
            os.close(child.line)
            child.line = -1

    def _watch(self) -> None:
        newest = self._newest_change()
        while not self._ended.wait(0.2):
            changed = self._newest_change()
            for child in self.children:
                with self._lock:
                    if self._ended.is_set():
                        return
                    if changed > newest and child.program.restart_on_change:
                        self._restart_changed(child)
                if child.process is not None and child.process.poll() is not None:
                    self._revive(child)
            newest = max(newest, changed)

    def _restart_changed(self, child: Child) -> None:
        self.say(f"The code changed: the {child.program.name} is started again.")
        self._cut(child)
        if child.process is not None:
            child.process.wait()
        self._spawn(child)

    def _revive(self, child: Child) -> None:
        """Start a dead child again after a pause that grows while it keeps dying at once."""
        lived = time.monotonic() - child.started
        child.pause = SHORTEST_PAUSE if lived > LONGEST_PAUSE else min(child.pause * 2, LONGEST_PAUSE)
        ended = child.process.returncode if child.process else "?"
        self.say(
            f"The {child.program.name} ended ({ended}); it is started again in {child.pause:.0f} s."
            f" The end of {child.log}:\n{last_lines(child.log, 5)}"
        )
        if self._ended.wait(child.pause):
            return
        with self._lock:
            if not self._ended.is_set():
                self._cut(child)
                self._spawn(child)

    def _newest_change(self) -> float:
        """Return when the newest source file was written; 0 when nothing is watched."""
        if self.watched is None:
            return 0.0
        newest = 0.0
        for package in self.watched.iterdir():
            if not (package / "__init__.py").exists():
                continue
            for source in package.rglob("*.py"):
                with contextlib.suppress(FileNotFoundError):
                    newest = max(newest, source.stat().st_mtime)
        return newest


# --- Helpers for the commands -----------------------------------------------------------------------


def require_free_port(port: int, *, flag: str) -> None:
    """Make sure that nothing listens on a port of this machine.

    :raises CannotRun: something does
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except PermissionError:
            raise CannotRun(
                f"Port {port} may not be used by an ordinary user: give one above 1023 with {flag}."
            ) from None
        except OSError:
            raise CannotRun(
                f"Port {port} is in use by another program: stop it, or give another with {flag}."
            ) from None


def answers(url: str) -> Callable[[], bool]:
    """Return a question: does this address answer anything but a server error?"""

    def ask() -> bool:
        try:
            return requests.get(url, timeout=2, allow_redirects=False).status_code < 500
        except requests.RequestException:
            return False

    return ask


def last_lines(log: Path, count: int = 20) -> str:
    """Return the end of a log, indented."""
    try:
        lines = log.read_text(errors="replace").splitlines()[-count:]
    except FileNotFoundError:
        lines = []
    return "\n".join(f"    {line}" for line in lines or ["(it wrote nothing)"])


@contextlib.contextmanager
def ending_on_signals() -> Iterator[None]:
    """Turn SIGINT, SIGTERM and SIGHUP into Stopped, so that `finally` and `with` clean up; a second one is ignored."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def stop(number: int, frame: FrameType | None) -> None:
        for each in numbers:
            signal.signal(each, signal.SIG_IGN)
        raise Stopped

    before = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
