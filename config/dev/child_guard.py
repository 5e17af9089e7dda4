"""A guard that ends a command when the guard's parent ends: `python config/dev/child_guard.py <fd> command...`.

The parent alone has the writing end of a pipe, and <fd> is the reading end. When the parent ends, even by kill -9, the
pipe closes, and the guard ends the command with all its children. This needs POSIX only. On Linux, PR_SET_PDEATHSIG
also ends the command when the guard itself is killed. The guard imports the standard library only, because three of
them run with each `manage.py demo` and should stay small.
"""

import ctypes
import os
import select
import signal
import subprocess
import sys
import time

GRACE = 10  # seconds for the command to end by itself: a worker finishes its job, a web server its requests
PR_SET_PDEATHSIG = 1  # linux/prctl.h


def die_with_parent() -> None:
    """Let Linux kill this process when the guard dies. Do nothing on other systems."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def signal_group(group: int, number: signal.Signals) -> bool:
    """Send a signal to the command and its children. Return whether any process was left."""
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):  # PermissionError: macOS, for a group of zombies
        return False
    return True


def main(pipe: int, command: list[str]) -> int:
    """Run the command until it ends, the pipe closes or a signal arrives. Return its exit code."""
    must_end = False

    def end(*_: object) -> None:
        nonlocal must_end
        must_end = True

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, end)
    # Code between fork and exec is safe here, because this process has one thread.
    child = subprocess.Popen(command, process_group=0, preexec_fn=die_with_parent)  # noqa: S603
    while child.poll() is None and not must_end:
        closed, _, _ = select.select([pipe], [], [], 0.1)
        must_end = must_end or bool(closed)
    signal_group(child.pid, signal.SIGTERM)
    deadline = time.monotonic() + GRACE
    while child.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    signal_group(child.pid, signal.SIGKILL)
    code = child.wait()
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2:]))
