"""The embedded PostgreSQL of development and tests: `ensure()` and there is a server.

It is also the name of a Django database engine (`base.py` beside this file), which calls `ensure` when the first
connection is wanted; a command that needs no database starts none. Only the standard library is used here. The
server is never stopped at exit: other processes may use it. `manage.py devdb` starts, stops, shows and resets it.
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
except ImportError:  # Windows, which `locate` turns away
    fcntl = None  # type: ignore[assignment]

__all__ = ["CHECKOUT", "ENGINE", "DevDbError", "Place", "address", "answers", "ensure", "locate", "reset", "stop"]

ENGINE = "config.dev.devdb"  # the name of this package as a database engine
CHECKOUT = Path(__file__).resolve().parents[3]
ROLE = "postgres"
# Test workers, a pool and a worker on one machine pass the usual 100.
MAX_CONNECTIONS = 200
START_SECONDS = 60
LOCK_SECONDS = 120
# A process number that no system gives out, and that PostgreSQL therefore takes for a dead one's.
NOBODYS_PID = 2**31 - 1


def ensure(checkout: Path = CHECKOUT) -> Path:
    """Return the socket folder of a server that answers, starting it first when it does not.

    Any number of processes may call this at once; one starts the server and the others wait for it.

    :raises DevDbError: it cannot be started
    """
    place = locate(checkout)
    if not answers(place):
        with _alone(place):
            if not answers(place):
                _start(place)
    return place.sockets


def stop(checkout: Path = CHECKOUT) -> bool:
    """Stop the server, cutting its connections; False when none was running.

    :raises DevDbError: it does not stop
    """
    place = locate(checkout)
    if not place.home.exists():
        return False
    with _alone(place):
        return _stop(place)


def reset(checkout: Path = CHECKOUT) -> None:
    """Stop the server and remove its files, all data with them.

    :raises DevDbError: it does not stop
    """
    place = locate(checkout)
    if place.home.exists():
        with _alone(place):
            _stop(place)
            for folder in {place.cluster, place.sockets}:
                shutil.rmtree(folder, ignore_errors=True)


def address(place: Place, database: str = ROLE) -> str:
    """Write the server's address in the one form that every tool here reads alike."""
    return f"postgresql://{ROLE}@/{database}?host={place.sockets}"


def answers(place: Place) -> bool:
    """Ask the server whether it takes connections, in this process and within a few milliseconds.

    A server that starts up or shuts down says so by SQLSTATE 57P03; any other answer, a refusal for want of free
    connections among them, is a server at work (PostgreSQL's own pg_isready judges alike).
    """
    words = b"user\0" + ROLE.encode() + b"\0database\0" + ROLE.encode() + b"\0\0"
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
            line.settimeout(5)
            line.connect(str(place.socket))
            line.sendall(struct.pack("!ii", 8 + len(words), 3 << 16) + words)
            reply = line.recv(4096)
            return reply[:1] in (b"R", b"E") and b"C57P03\0" not in reply
    except OSError:
        return False


def server_pid(place: Place) -> int | None:
    """Return the process that serves this place's data, None when there is none.

    A number in the pid file proves nothing: after a crash it may be a zombie's, or have passed to another program.
    """
    try:
        pid = int(place.pid_file.read_text().split("\n", 1)[0])
    except (OSError, ValueError):
        return None
    return pid if str(place.data) in _command_of(pid) else None


def _command_of(pid: int) -> str:
    """Return a living process's command line; a zombie has none."""
    if sys.platform == "linux":  # where small images have no ps
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
def _alone(place: Place) -> Iterator[None]:
    """Hold the place's lock; the system releases it when the holder dies, however it dies."""
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
                        f"Another process has been starting the embedded PostgreSQL for {LOCK_SECONDS} s: "
                        f"see who holds {place.lock}."
                    ) from None
                time.sleep(0.05)
        yield


def _start(place: Place) -> None:
    place = prepare_cluster(place)
    folder = programs(place)
    if not place.data.exists():
        _make_cluster(place, folder)
    version = (place.data / "PG_VERSION").read_text().strip()
    if not folder.parent.name.endswith(version):
        raise DevDbError(
            f"The data in {place.data} are of PostgreSQL {version}, another than the one installed: "
            "`manage.py devdb reset` begins anew."
        )
    _launch(place, folder)
    shown = subprocess.run([folder / "postgres", "--version"], capture_output=True, text=True, **run_as(place)).stdout
    number = re.search(r"[\d.]+", shown)
    print(f"Embedded PostgreSQL {number[0] if number else version} at {address(place)}", file=sys.stderr)


def _make_cluster(place: Place, folder: Path) -> None:
    """Make an empty cluster under another name, then rename it: a killed initdb leaves no half of one.

    The name is new each time, because a killed launcher's initdb may still be writing to the old one.
    """
    for leftover in place.cluster.glob("data.new-*"):
        shutil.rmtree(leftover, ignore_errors=True)
    fresh = Path(tempfile.mkdtemp(prefix="data.new-", dir=place.cluster))
    if place.user:
        os.chown(fresh, place.user.pw_uid, place.user.pw_gid)
    how = ["--pgdata", str(fresh), "--username", ROLE, "--encoding", "UTF8", "--no-instructions"]
    # PostgreSQL's own C.UTF-8: the same order of words on every machine, whatever locales it has.
    how += ["--locale", "C", "--locale-provider", "builtin", "--builtin-locale", "C.UTF-8"]
    # No password: only the server's user, and root, can enter the socket's folder.
    how += ["--auth", "trust"]
    made = subprocess.run([folder / "initdb", *how], capture_output=True, text=True, **run_as(place))
    if made.returncode:
        shutil.rmtree(fresh, ignore_errors=True)
        raise DevDbError(f"initdb failed in {place.cluster}: {_one_line(made.stderr)}")
    fresh.rename(place.data)


def _launch(place: Place, folder: Path) -> None:
    """Start the server and wait until it answers, as long as remains of an earlier one may take to go.

    A killed server's zombie, or its children, keep the next one from starting for some seconds.
    """
    began = time.monotonic()
    output = ""
    while time.monotonic() < began + START_SECONDS:
        if server_pid(place) is None:
            _disown_pid_file(place)
            output = _pg_ctl(place, folder, "start", "--log", str(place.log), "--options", _options(place))
        elif not place.socket.exists() and time.monotonic() > began + 3:
            # Something swept the socket away; only a new start brings it back.
            output = _pg_ctl(place, folder, "stop", "--mode", "fast")
        if answers(place):
            return
        time.sleep(0.25)
    pid = server_pid(place)
    state = f"Process {pid} holds the data but does not answer." if pid else _one_line(_last_lines(place.log) or output)
    raise DevDbError(f"The embedded PostgreSQL did not start within {START_SECONDS} s ({place.log}): {state}")


def _disown_pid_file(place: Place) -> None:
    """Take a dead server's number out of its pid files, so that a program that now has the number is not in the way.

    The rest of the file stays: PostgreSQL finds there the shared memory of the dead server, and refuses to start
    while a child of that server is still attached to it.
    """
    with contextlib.suppress(FileNotFoundError):
        _, newline, rest = place.pid_file.read_text().partition("\n")
        fresh = place.pid_file.with_suffix(".new")
        fresh.write_text(f"{NOBODYS_PID}{newline}{rest}")
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
    """Run pg_ctl, which detaches the server from us, and return what it says."""
    with tempfile.TemporaryFile("w+") as output:  # not a pipe: the server would inherit it, and keep it open
        subprocess.run(
            [folder / "pg_ctl", verb, "--wait", "--timeout", "30", "--pgdata", place.data, *more],
            stdout=output,
            stderr=output,
            **run_as(place),
        )
        output.seek(0)
        return output.read()


def _options(place: Place) -> str:
    """The server's settings as pg_ctl wants them: in one string that a shell will read."""
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
