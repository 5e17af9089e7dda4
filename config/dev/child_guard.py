"""Run one command that never outlives whoever started it: `python config/dev/child_guard.py <fd> command...`.

The starter holds the writing end of a pipe and nobody else does. When it ends, even by kill -9, the pipe closes, and
everything the command started is ended too. Needs nothing but POSIX, so it works where Linux's PR_SET_PDEATHSIG does
not exist; where it does, the command also dies with the guard itself. No imports beyond the standard library: three
of these run beside every `manage.py demo`, and they should be small.
"""

import ctypes
import os
import select
import signal
import subprocess
import sys
import time

# Seconds the command has for ending in good order: a worker finishes its job, a web server its requests.
GRACE = 10
PR_SET_PDEATHSIG = 1  # linux/prctl.h


def die_with_parent() -> None:
    """Ask Linux to kill this process when the guard dies; elsewhere, nothing."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def signal_group(group: int, number: signal.Signals) -> bool:
    """Send a signal to everything the command started; return whether anything was there."""
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):  # PermissionError: macOS, for a group of zombies
        return False
    return True


def main(line: int, command: list[str]) -> int:
    """Run the command until it ends, the line is cut or a signal asks for its end; return its exit code."""
    ending = False

    def end(*_: object) -> None:
        nonlocal ending
        ending = True

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, end)
    # This process has one thread, so that code between fork and exec is safe.
    child = subprocess.Popen(command, process_group=0, preexec_fn=die_with_parent)  # noqa: S603
    while child.poll() is None and not ending:
        cut, _, _ = select.select([line], [], [], 0.1)
        ending = ending or bool(cut)
    signal_group(child.pid, signal.SIGTERM)
    deadline = time.monotonic() + GRACE
    while child.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    signal_group(child.pid, signal.SIGKILL)
    code = child.wait()
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2:]))
