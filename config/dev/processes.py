"""A supervisor of the product's processes: it starts them, restarts those that end, and stops all of them."""

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
MIN_PAUSE, MAX_PAUSE = 0.5, 10.0  # seconds before an ended child is started again
STOP_TIMEOUT = 15.0  # more than child_guard.GRACE


class CannotRun(Exception):
    """The processes cannot be started, or did not become ready. The text is shown to the developer."""


class Stopped(BaseException):
    """A signal ended the command. Like KeyboardInterrupt, it is not an Exception."""


@dataclass(frozen=True)
class Program:
    """One process to keep running."""

    name: str
    command: list[str]
    env: dict[str, str] = field(default_factory=dict)
    is_ready: Callable[[], bool] = lambda: True
    restart_on_change: bool = False  # for programs without autoreload


@dataclass
class Child:
    """A running program."""

    program: Program
    log: Path
    process: subprocess.Popen | None = None
    pipe: int = -1  # our end of the pipe to its guard
    started: float = 0.0
    pause: float = MIN_PAUSE


class Supervisor:
    """A supervisor: it starts programs, restarts those that end, and stops all of them.

    The output of a program goes to `<log_dir>/<name><suffix>.log`. `say` prints messages for the developer.
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
        """Start all programs, and from then on restart those that end."""
        self.log_dir.mkdir(parents=True, exist_ok=True)
        for child in self.children:
            child.log.write_bytes(b"")
            self._spawn(child)
        self._watcher.start()

    def wait_until_ready(self, *, seconds: float = 60) -> None:
        """Wait until every program is ready.

        :raises CannotRun: one was not ready in time. The text has the end of its log
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
        """Stop all children and their children. Repeated calls change nothing."""
        self._ended.set()
        with self._lock:
            for child in self.children:
                self._close_pipe(child)
            deadline = time.monotonic() + STOP_TIMEOUT
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
        guard_end, child.pipe = os.pipe()  # our end is not inherited, so that it closes when this process ends
        command = [sys.executable, "-I", str(CHILD_GUARD), str(guard_end), *child.program.command]
        try:
            with child.log.open("ab") as log:
                child.process = subprocess.Popen(  # noqa: S603 - our own command lines
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env={**os.environ, "PYTHONUNBUFFERED": "1", **child.program.env},
                    pass_fds=[guard_end],
                    start_new_session=True,  # Ctrl-C reaches this process only, which then stops the children in order
                )
        finally:
            os.close(guard_end)
        child.started = time.monotonic()

    def _close_pipe(self, child: Child) -> None:
        if child.pipe >= 0:
            os.close(child.pipe)
            child.pipe = -1

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
                    self._restart_ended(child)
            newest = max(newest, changed)

    def _restart_changed(self, child: Child) -> None:
        self.say(f"The code changed. The {child.program.name} is restarted.")
        self._close_pipe(child)
        if child.process is not None:
            child.process.wait()
        self._spawn(child)

    def _restart_ended(self, child: Child) -> None:
        """Restart an ended child after a pause, which grows while the child keeps ending at once."""
        ran = time.monotonic() - child.started
        child.pause = MIN_PAUSE if ran > MAX_PAUSE else min(child.pause * 2, MAX_PAUSE)
        code = child.process.returncode if child.process else "?"
        self.say(
            f"The {child.program.name} ended ({code}). It is restarted in {child.pause:.0f} s."
            f" The end of {child.log}:\n{last_lines(child.log, 5)}"
        )
        if self._ended.wait(child.pause):
            return
        with self._lock:
            if not self._ended.is_set():
                self._close_pipe(child)
                self._spawn(child)

    def _newest_change(self) -> float:
        """Return the time of the newest source file, or 0 when no folder is watched."""
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
    """Check that a port of this machine is free.

    :raises CannotRun: it is in use, or ordinary users may not use it
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except PermissionError:
            raise CannotRun(
                f"Port {port} may not be used by an ordinary user. Choose one above 1023 with {flag}."
            ) from None
        except OSError:
            raise CannotRun(
                f"Port {port} is in use by another program. Stop that program, or choose another port with {flag}."
            ) from None


def answers(url: str) -> Callable[[], bool]:
    """Return a function that tells whether the URL answers without a server error."""

    def check() -> bool:
        try:
            return requests.get(url, timeout=2, allow_redirects=False).status_code < 500
        except requests.RequestException:
            return False

    return check


def last_lines(log: Path, count: int = 20) -> str:
    """Return the end of a log, indented."""
    try:
        lines = log.read_text(errors="replace").splitlines()[-count:]
    except FileNotFoundError:
        lines = []
    return "\n".join(f"    {line}" for line in lines or ["(empty)"])


@contextlib.contextmanager
def stopping_on_signals() -> Iterator[None]:
    """Raise Stopped on SIGINT, SIGTERM or SIGHUP, so that `finally` and `with` clean up. A second one is ignored."""
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
