"""What the product's processes are, and how `manage.py demo`, `dev` and `tunnel` start them on this machine."""

import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

import requests
from django.conf import settings
from django.core.management import call_command
from django.core.management.base import CommandError, CommandParser
from django.db import OperationalError, connection

from api import advisory_locks
from config.dev.processes import CannotRun, Program, Supervisor, answers, require_free_port

DEFAULT_PORT, DEFAULT_SIMULATOR_PORT = 8000, 8099
MANAGE = [sys.executable, str(settings.BASE_DIR / "manage.py")]


@dataclass(frozen=True)
class Places:
    """Where a copy runs. Without a simulator, M-Pesa is Safaricom's own."""

    port: int
    simulator_port: int | None
    public_url: str
    database_url: str = ""  # where it is not the one the settings name

    @property
    def web(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def simulator(self) -> str:
        return f"http://127.0.0.1:{self.simulator_port}"

    @property
    def env(self) -> dict[str, str]:
        """The settings that follow from the places, for every process of the copy."""
        env = {"PUBLIC_URL": self.public_url}
        if self.database_url:
            # Its own shelf too: kept callbacks belong to one database.
            env |= {"DATABASE_URL": self.database_url, "STATE_DIR": str(settings.STATE_DIR / str(self.port))}
        if self.simulator_port:
            env |= {"DARAJA_SIMULATOR_URL": self.simulator}
        host = urlsplit(self.public_url).hostname
        if host and host not in settings.ALLOWED_HOSTS:
            env |= {
                "ALLOWED_HOSTS": ",".join([*settings.ALLOWED_HOSTS, host]),
                "CSRF_TRUSTED_ORIGINS": ",".join([*settings.CSRF_TRUSTED_ORIGINS, self.public_url]),
            }
        return env


def add_port_arguments(parser: CommandParser) -> None:
    """Let the ports be chosen; the simulator's follows the web server's, so that copies run side by side."""
    parser.add_argument("--port", type=int, default=DEFAULT_PORT, help="web server's port (default: %(default)s)")
    parser.add_argument("--simulator-port", type=int, help="default: 8099, or with --port the port after it")


def choose_places(*, port: int, simulator_port: int | None, public_url: str = "") -> Places:
    """Return where this copy will run, with every port free.

    :raises CannotRun: in production, or a port is in use
    """
    if settings.PRODUCTION:
        raise CannotRun(
            "This starts everything on one machine, for development; docs/operations.md says how to run on a server."
        )
    require_free_port(port, flag="--port (make: PORT=8710)")
    if not settings.SIMULATED:
        # Safaricom calls back over the internet: the address is the one that .env or the tunnel says.
        return Places(port, None, public_url or settings.PUBLIC_URL)
    simulator_port = simulator_port or (DEFAULT_SIMULATOR_PORT if port == DEFAULT_PORT else port + 1)
    if simulator_port == port:
        raise CannotRun("--port and --simulator-port must differ.")
    require_free_port(simulator_port, flag="--simulator-port")
    return Places(port, simulator_port, public_url or f"http://127.0.0.1:{port}")


def prepare_database(places: Places, say: Callable[[str], None]) -> Places:
    """Reach the database, make sure that no other copy runs on it, and bring it up to date; return the places with it.

    :raises CannotRun: it cannot be reached, another copy runs on it, or `migrate` refuses it
    """
    try:
        places = replace(places, database_url=own_database(places.port))
        with connection.cursor() as cursor:
            # Held by this process's connection: it is free again when the process is gone, however it ended.
            cursor.execute("SELECT pg_try_advisory_lock(%s)", [advisory_locks.RUNNING_COPY])
            is_ours = cursor.fetchone()[0]
    except OperationalError as error:
        raise CannotRun(f"The database cannot be reached: {' '.join(str(error).split())}") from None
    if not is_ours:
        raise CannotRun(
            "Another copy runs on the same database: stop it, or give this one a database of its own (DATABASE_URL)."
        )
    say("Bringing the database up to date.")
    try:
        call_command("migrate", verbosity=0, interactive=False)
    except CommandError as error:
        # A command in another terminal would reach the usual database.
        where = f"export DATABASE_URL={shlex.quote(places.database_url)}; " if places.database_url else ""
        raise CannotRun(f"{where}{error}") from None
    return places


def own_database(port: int) -> str:
    """Give a copy on another port than usual a database of its own in the embedded server; return its address.

    Empty, and nothing done, on the usual port and on a server that is not ours: there, DATABASE_URL decides.
    """
    if port == DEFAULT_PORT or settings.DATABASES["default"]["ENGINE"] != "config.dev.devdb":
        return ""
    name = f"kilabu_{port}"
    with connection.cursor() as cursor:
        cursor.execute("SELECT EXISTS (SELECT FROM pg_database WHERE datname = %s)", [name])
        if not cursor.fetchone()[0]:
            cursor.execute(f"CREATE DATABASE {name}")  # letters and digits of our own making
    place = connection.get_connection_params()
    connection.close()
    connection.settings_dict["NAME"] = name
    return f"postgresql://{place['user']}@/{name}?host={place['host']}"


def programs(places: Places, *, autoreload: bool) -> list[Program]:
    """Return the processes of one copy."""
    address, env = f"127.0.0.1:{places.port}", places.env
    if autoreload:
        web = [*MANAGE, "runserver", address]
    else:
        env |= {"DATABASE_CONN_MAX_AGE": "60"}  # as in production: gunicorn's threads live on
        web = [sys.executable, "-m", "gunicorn", "config.wsgi:application", "--chdir", str(settings.BASE_DIR)]
        # Preloaded, Django starts once, and the workers are forks of that. gunicorn's control socket would lie in the
        # person's home, one for all copies.
        web += ["--preload", "--no-control-socket", "--log-level", "warning"]
        web += ["--bind", address, "--worker-class", "gthread", "--workers", "2", "--threads", "8"]
    found = [
        Program("web server", web, env, answers(f"{places.web}/healthz")),
        Program("worker", [*MANAGE, "procrastinate", "worker"], places.env, restart_on_change=autoreload),
    ]
    if places.simulator_port:
        book = settings.STATE_DIR / f"simulator-{places.simulator_port}.sqlite3"
        simulator = [*MANAGE, "daraja_simulator", "--port", str(places.simulator_port), "--book", str(book)]
        found.insert(0, Program("simulator", simulator, places.env, answers(f"{places.simulator}/control/health/")))
    return found


def run_command(places: Places, *words: str) -> None:
    """Run one management command with the copy's settings.

    :raises CannotRun: it failed; with what it wrote
    """
    done = subprocess.run(  # noqa: S603 - our own command
        [*MANAGE, *words], env={**os.environ, **places.env}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise CannotRun(f"`manage.py {words[0]}` failed:\n{done.stdout}{done.stderr}")


def supervisor(places: Places, *, autoreload: bool, say: Callable[[str], None]) -> Supervisor:
    """Return the copy's processes, ready to be started; their logs carry the port in their names."""
    log_dir: Path = settings.STATE_DIR / "log"
    return Supervisor(
        programs(places, autoreload=autoreload),
        log_dir=log_dir,
        say=say,
        suffix=f"-{places.port}",
        watched=settings.BASE_DIR if autoreload else None,
    )


def farewell() -> str:
    """Return what is said at the end: that nothing is left running, but for a database of ours."""
    if settings.DATABASES["default"]["ENGINE"] == "config.dev.devdb":
        return "Stopped. The embedded database stays up for the next start; `manage.py devdb stop` ends it."
    return "Stopped; nothing is left running."


def doors(places: Places) -> list[tuple[str, str]]:
    """Return where to click, what a stranger opens first; and what a copy beside the usual one needs in its shell."""
    found = [("App", f"{places.web}/"), ("Admin", f"{places.web}/admin/"), ("API", f"{places.web}/api/v1/docs/")]
    found = [(name, url) for name, url in found if is_there(url)]
    if places.simulator_port:
        found.append(("Phone", f"{places.simulator}/phone/"))
    if places.public_url != places.web:
        found.append(("Public", places.public_url))
    if places.database_url:
        # For this copy's manage.py commands, in another terminal.
        names = " ".join(f"{name}={shlex.quote(value)}" for name, value in places.env.items())
        found.append(("Shell", f"export {names}"))
    return found


def is_there(url: str) -> bool:
    """Return whether an address leads somewhere."""
    try:
        return requests.get(url, timeout=5).status_code < 400
    except requests.RequestException:
        return False
