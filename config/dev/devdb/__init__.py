"""The embedded PostgreSQL of development and tests. `ensure()` starts the server if it does not run.

This package is also a Django database engine (`base.py`), which calls `ensure` for the first connection. A command
without a database connection starts no server. The server keeps running at exit, because other processes may use it.
`manage.py devdb` starts, stops, shows and resets it. This module uses the standard library only.
"""

import contextlib
import os
import re
import shlex
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from config.dev.devdb.places import DevDbError, Place, locate, prepare, prepare_cluster, programs, run_as

try:
    import fcntl
except ImportError:  # on Windows, where `locate` raises DevDbError
    fcntl = None  # type: ignore[assignment]  # a module or None

__all__ = [
    "CHECKOUT",
    "ENGINE",
    "DevDbError",
    "Place",
    "accepts_connections",
    "ensure",
    "locate",
    "reset",
    "stop",
    "url",
]

ENGINE = "config.dev.devdb"  # the name of this package as a database engine
CHECKOUT = Path(__file__).resolve().parents[3]
ROLE = "postgres"
# Test processes, a pool and a worker on one machine need more than the default of 100.
MAX_CONNECTIONS = 200
START_SECONDS = 60
LOCK_SECONDS = 120
# A process id that no system uses, so that PostgreSQL sees that the process has ended.
UNUSED_PID = 2**31 - 1


def ensure(checkout: Path = CHECKOUT) -> Path:
    """Start the server if it does not run, and return the folder of its socket.

    Several processes may call this at the same time. One starts the server, and the others wait for it.

    :raises DevDbError: the server cannot be started
    """
    place = locate(checkout)
    if not accepts_connections(place):
        with _locked(place):
            if not accepts_connections(place):
                _start(place)
    return place.sockets


def stop(checkout: Path = CHECKOUT) -> bool:
    """Stop the server and close its connections. Return False if it did not run.

    :raises DevDbError: the server does not stop
    """
    place = locate(checkout)
    if not place.home.exists():
        return False
    with _locked(place):
        return _stop(place)


def reset(checkout: Path = CHECKOUT) -> None:
    """Stop the server and delete its files with all data.

    :raises DevDbError: the server does not stop
    """
    place = locate(checkout)
    if place.home.exists():
        with _locked(place):
            _stop(place)
            for folder in {place.cluster, place.sockets}:
                shutil.rmtree(folder, ignore_errors=True)


def url(place: Place, database: str = ROLE) -> str:
    """Return the URL of the server, in a form that psql, psycopg and the settings understand."""
    return f"postgresql://{ROLE}@/{database}?host={place.sockets}"


def accepts_connections(place: Place) -> bool:
    """Return whether the server accepts connections, by a request on its socket that takes a few milliseconds.

    During start and shutdown the server answers with SQLSTATE 57P03. Any other answer means that it works, even the
    error that it has too many connections. PostgreSQL's own pg_isready uses the same rule.
    """
    parameters = b"user\0" + ROLE.encode() + b"\0database\0" + ROLE.encode() + b"\0\0"
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.settimeout(5)
            client.connect(str(place.socket))
            client.sendall(struct.pack("!ii", 8 + len(parameters), 3 << 16) + parameters)
            reply = client.recv(4096)
            return reply[:1] in (b"R", b"E") and b"C57P03\0" not in reply
    except OSError:
        return False


def server_pid(place: Place) -> int | None:
    """Return the process id of the server, or None if it does not run.

    The id in the pid file alone is no proof: after a crash it may belong to a zombie or to another program.
    """
    try:
        pid = int(place.pid_file.read_text().split("\n", 1)[0])
    except (OSError, ValueError):
        return None
    return pid if str(place.data) in _command_of(pid) else None


def _command_of(pid: int) -> str:
    """Return the command line of a process. It is empty for a zombie, and when there is no such process."""
    if sys.platform == "linux":  # small Linux images have no ps
        try:
            return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            return ""
    return subprocess.run(
        ["ps", "-ww", "-o", "command=", "-p", str(pid)],  # noqa: S607
        capture_output=True,
        text=True,
    ).stdout


@contextlib.contextmanager
def _locked(place: Place) -> Iterator[None]:
    """Hold the lock file. The operating system releases it when the process ends in any way."""
    prepare(place)
    deadline = time.monotonic() + LOCK_SECONDS
    with open(os.open(place.lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600), "r+") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise DevDbError(
                        f"Another process has been starting or stopping the embedded PostgreSQL for {LOCK_SECONDS} s. "
                        f"Find the process that has {place.lock} open, and end it."
                    ) from None
                time.sleep(0.05)
        yield


def _start(place: Place) -> None:
    place = prepare_cluster(place)
    folder = programs(place)
    if not place.data.exists():
        _create_cluster(place, folder)
    version = (place.data / "PG_VERSION").read_text().strip()
    if not folder.parent.name.endswith(version):
        raise DevDbError(
            f"The data in {place.data} are of PostgreSQL {version}, but another version is installed. "
            "`manage.py devdb reset` deletes them and starts with an empty database."
        )
    _launch(place, folder)
    output = subprocess.run([folder / "postgres", "--version"], capture_output=True, text=True, **run_as(place)).stdout
    number = re.search(r"[\d.]+", output)
    print(f"Embedded PostgreSQL {number[0] if number else version} at {url(place)}", file=sys.stderr)


def _create_cluster(place: Place, folder: Path) -> None:
    """Create an empty cluster under a temporary name and rename it, so that a killed initdb leaves no partial cluster.

    The temporary name is new each time, because the initdb of a killed process may still be running.
    """
    for leftover in place.cluster.glob("data.new-*"):
        shutil.rmtree(leftover, ignore_errors=True)
    fresh = Path(tempfile.mkdtemp(prefix="data.new-", dir=place.cluster))
    if place.user:
        os.chown(fresh, place.user.pw_uid, place.user.pw_gid)
    options = ["--pgdata", str(fresh), "--username", ROLE, "--encoding", "UTF8", "--no-instructions"]
    # PostgreSQL's own C.UTF-8, so that sorting is the same on every machine.
    options += ["--locale", "C", "--locale-provider", "builtin", "--builtin-locale", "C.UTF-8"]
    # No password, because only the server's user and root can open the folder of the socket.
    options += ["--auth", "trust"]
    result = subprocess.run([folder / "initdb", *options], capture_output=True, text=True, **run_as(place))
    if result.returncode:
        shutil.rmtree(fresh, ignore_errors=True)
        raise DevDbError(f"initdb failed in {place.cluster}: {_one_line(result.stderr)}")
    fresh.rename(place.data)


def _launch(place: Place, folder: Path) -> None:
    """Start the server and wait until it accepts connections.

    It tries again for START_SECONDS, because a zombie or children of a killed server prevent a start for some seconds.
    """
    began = time.monotonic()
    output = ""
    while time.monotonic() < began + START_SECONDS:
        if server_pid(place) is None:
            _invalidate_pid_file(place)
            output = _pg_ctl(place, folder, "start", "--log", str(place.log), "--options", _options(place))
        elif not place.socket.exists() and time.monotonic() > began + 3:
            # The socket file was deleted. Only a restart creates it again.
            output = _pg_ctl(place, folder, "stop", "--mode", "fast")
        if accepts_connections(place):
            return
        time.sleep(0.25)
    pid = server_pid(place)
    state = (
        f"Process {pid} has opened the data but does not answer."
        if pid
        else _one_line(_last_lines(place.log) or output)
    )
    raise DevDbError(f"The embedded PostgreSQL did not start within {START_SECONDS} s ({place.log}): {state}")


def _invalidate_pid_file(place: Place) -> None:
    """Replace the process id in the pid file of a dead server: another program may have that id now.

    The rest of the file stays. PostgreSQL finds the shared memory of the dead server there, and does not start while a
    child of that server still uses it.
    """
    with contextlib.suppress(FileNotFoundError):
        _, newline, rest = place.pid_file.read_text().partition("\n")
        fresh = place.pid_file.with_suffix(".new")
        fresh.write_text(f"{UNUSED_PID}{newline}{rest}")
        if place.user:
            os.chown(fresh, place.user.pw_uid, place.user.pw_gid)
        fresh.replace(place.pid_file)
    place.socket.with_name(f"{place.socket.name}.lock").unlink(missing_ok=True)


def _stop(place: Place) -> bool:
    if server_pid(place) is None:
        return False
    output = _pg_ctl(place, programs(place), "stop", "--mode", "fast")
    deadline = time.monotonic() + 10
    while server_pid(place) is not None:
        if time.monotonic() > deadline:
            raise DevDbError(f"The embedded PostgreSQL does not stop: {_one_line(output)}")
        time.sleep(0.1)
    return True


def _pg_ctl(place: Place, folder: Path, verb: str, *more: str) -> str:
    """Run pg_ctl, which starts the server in the background, and return its output."""
    with tempfile.TemporaryFile("w+") as output:  # not a pipe, which the server would inherit and keep open
        subprocess.run(
            [folder / "pg_ctl", verb, "--wait", "--timeout", "30", "--pgdata", place.data, *more],
            stdout=output,
            stderr=output,
            **run_as(place),
        )
        output.seek(0)
        return output.read()


def _options(place: Place) -> str:
    """Return the server's settings as one string of shell words, for pg_ctl."""
    folders = '"' + str(place.sockets).replace('"', '""') + '"'
    settings = {
        "listen_addresses": "",
        "unix_socket_directories": folders,
        "unix_socket_permissions": "0700",
        "max_connections": str(MAX_CONNECTIONS),
    }
    return shlex.join(word for name, value in settings.items() for word in ("-c", f"{name}={value}"))


def _last_lines(path: Path) -> str:
    try:
        return path.read_text(errors="replace")[-600:]
    except OSError:
        return ""


def _one_line(text: str) -> str:
    return " ".join(text.split())
