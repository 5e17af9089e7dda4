"""The supervisor of the product's processes: restarts, and stops in any way."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from config.dev import child_guard
from config.dev.processes import CannotRun, Program, Supervisor, require_free_port

# Starts a child process, as a web server does, writes both process ids to a file, and sleeps.
PARENT_AND_CHILD = """
import pathlib, subprocess, sys, os, time
grandchild = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
path = pathlib.Path(sys.argv[1])
path.with_suffix(".new").write_text(f"{os.getpid()} {grandchild.pid}")
path.with_suffix(".new").rename(path)
time.sleep(600)
"""

# A supervisor in a separate process, like `manage.py demo`.
SUPERVISING = """
import sys, time
from pathlib import Path
from config.dev.processes import Program, Stopped, Supervisor, stopping_on_signals
here = Path(sys.argv[1])
programs = [Program(name, [sys.executable, "-c", sys.argv[2], str(here / name)]) for name in ("web", "worker")]
try:
    with stopping_on_signals(), Supervisor(programs, log_dir=here, say=print):
        time.sleep(600)
except Stopped:
    print("stopped")
"""


def pids_in(path: Path, *, other_than: tuple[int, ...] = ()) -> list[int]:
    """Wait until a program has written its process ids, and return them."""
    return wait_for(lambda: [int(pid) for pid in path.read_text().split()], lambda pids: pids != list(other_than))


def wait_for(read, condition, *, seconds: float = 15):
    deadline = time.monotonic() + seconds
    while True:
        try:
            answer = read()
            if condition(answer):
                return answer
        except FileNotFoundError:
            answer = None
        assert time.monotonic() < deadline, f"still {answer!r} after {seconds} s"
        time.sleep(0.05)


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{pid}/stat")
    # A killed orphan is a zombie until the first process of the system collects it.
    return not status.exists() or status.read_text().rpartition(")")[2].split()[0] != "Z"


def all_gone(pids: list[int]) -> bool:
    return not any(is_running(pid) for pid in pids)


@pytest.fixture
def supervising(tmp_path):
    """A supervisor in another process, with two programs, each of which has a child."""
    process = subprocess.Popen(  # noqa: S603
        [sys.executable, "-c", SUPERVISING, str(tmp_path), PARENT_AND_CHILD],
        cwd=Path(__file__).resolve().parents[2],
        stdout=subprocess.PIPE,
        text=True,
    )
    yield process
    process.kill()
    process.communicate()


def test_killed_child_is_restarted(tmp_path):
    messages: list[str] = []
    program = Program("worker", [sys.executable, "-c", PARENT_AND_CHILD, str(tmp_path / "pids")])

    with Supervisor([program], log_dir=tmp_path, say=messages.append):
        first = pids_in(tmp_path / "pids")
        os.kill(first[0], signal.SIGKILL)
        second = pids_in(tmp_path / "pids", other_than=tuple(first))
        gone_while_the_second_runs = all_gone(first)
    assert gone_while_the_second_runs
    assert all_gone(second)
    assert messages[0].startswith("The worker ended (137). It is restarted in 1 s.")


def test_sigterm_stops_the_supervisor_and_all_children(supervising, tmp_path):
    children = pids_in(tmp_path / "web") + pids_in(tmp_path / "worker")

    supervising.terminate()

    assert supervising.communicate(timeout=20)[0] == "stopped\n"
    assert all_gone(children)


def test_killed_supervisor_leaves_no_process(supervising, tmp_path):
    children = pids_in(tmp_path / "web") + pids_in(tmp_path / "worker")

    supervising.kill()
    supervising.wait()

    wait_for(lambda: all_gone(children), bool)


def test_program_that_ignores_sigterm_is_killed(tmp_path, monkeypatch):
    stubborn = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN);" + PARENT_AND_CHILD
    # A copy of the child guard with a shorter grace time.
    fast_guard = tmp_path / "child_guard.py"
    guard = Path(child_guard.__file__)
    fast_guard.write_text(guard.read_text().replace("GRACE = 10", "GRACE = 0.3"))
    monkeypatch.setattr("config.dev.processes.CHILD_GUARD", fast_guard)

    with Supervisor(
        [Program("web", [sys.executable, "-c", stubborn, str(tmp_path / "pids")])], log_dir=tmp_path, say=print
    ):
        pids = pids_in(tmp_path / "pids")

    assert all_gone(pids)


def test_program_that_is_not_ready_is_reported_with_its_log(tmp_path):
    broken = Program("web", [sys.executable, "-c", "print('no such table')"], is_ready=lambda: False)

    with Supervisor([broken], log_dir=tmp_path, say=lambda _: None) as supervisor, pytest.raises(CannotRun) as raised:
        supervisor.wait_until_ready(seconds=1)

    assert str(raised.value).startswith(
        f"The web was not ready after 1 seconds. The end of {tmp_path / 'web.log'}:\n    no such table"
    )


def test_changed_code_restarts_programs_without_autoreload(tmp_path):
    package = tmp_path / "club"
    package.mkdir()
    (package / "__init__.py").touch()
    command = [sys.executable, "-c", PARENT_AND_CHILD, str(tmp_path / "pids")]
    programs = [Program("worker", command, restart_on_change=True)]
    messages: list[str] = []

    with Supervisor(programs, log_dir=tmp_path, say=messages.append, watched=tmp_path):
        first = pids_in(tmp_path / "pids")
        time.sleep(0.5)
        (package / "services.py").write_text("fee = 1")
        pids_in(tmp_path / "pids", other_than=tuple(first))

    assert messages == ["The code changed. The worker is restarted."]


def test_port_in_use_is_reported():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        with pytest.raises(CannotRun) as raised:
            require_free_port(port, flag="--port")

    assert (
        str(raised.value)
        == f"Port {port} is in use by another program. Stop that program, or choose another port with --port."
    )
