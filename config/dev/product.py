"""One copy of the product on this machine: its ports, database and processes, for `manage.py demo`, `dev`, `tunnel`."""

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
from config.dev import devdb
from config.dev.processes import CannotRun, Program, Supervisor, answers, require_free_port

DEFAULT_PORT, DEFAULT_SIMULATOR_PORT = 8000, 8099
MANAGE = [sys.executable, str(settings.BASE_DIR / "manage.py")]


@dataclass(frozen=True)
class Places:
    """The ports and URLs of one copy. Without a simulator port, it uses Safaricom's servers."""

    port: int
    simulator_port: int | None
    public_url: str
    database_url: str = ""  # if it is not the database of the settings

    @property
    def web(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def simulator(self) -> str:
        return f"http://127.0.0.1:{self.simulator_port}"

    @property
    def env(self) -> dict[str, str]:
        """Environment variables for every process of the copy."""
        env = {"PUBLIC_URL": self.public_url}
        if self.database_url:
            # It needs its own folder too, because spooled callbacks belong to one database.
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
    """Add --port and --simulator-port. By default the simulator has the next port, so that several copies can run."""
    parser.add_argument("--port", type=int, default=DEFAULT_PORT, help="web server's port (default: %(default)s)")
    parser.add_argument("--simulator-port", type=int, help="default: 8099, or with --port the port after it")


def choose_places(*, port: int, simulator_port: int | None, public_url: str = "") -> Places:
    """Return the ports and URLs of this copy, after checking that the ports are free.

    :raises CannotRun: in production, or when a port is in use
    """
    if settings.PRODUCTION:
        raise CannotRun(
            "This command runs everything on one machine, for development. For a server, see docs/operations.md."
        )
    require_free_port(port, flag="--port (make: PORT=8710)")
    if not settings.SIMULATED:
        # Safaricom calls back over the internet, to the URL of .env or of the tunnel.
        return Places(port, None, public_url or settings.PUBLIC_URL)
    simulator_port = simulator_port or (DEFAULT_SIMULATOR_PORT if port == DEFAULT_PORT else port + 1)
    if simulator_port == port:
        raise CannotRun("--port and --simulator-port must differ.")
    require_free_port(simulator_port, flag="--simulator-port")
    return Places(port, simulator_port, public_url or _public_url_set() or f"http://127.0.0.1:{port}")


def _public_url_set() -> str:
    """Return the PUBLIC_URL that the developer set, for example for a tunnel, or "" when none is set.

    One on the loopback is not used: it may be of a copy on another port.
    """
    host = urlsplit(settings.PUBLIC_URL).hostname
    return "" if host in ("127.0.0.1", "localhost") else settings.PUBLIC_URL


def prepare_database(places: Places, say: Callable[[str], None]) -> Places:
    """Connect to the database, check that no other copy uses it, and migrate it. Return the places with its URL.

    :raises CannotRun: it cannot be reached, another copy uses it, or `migrate` refuses it
    """
    try:
        places = replace(places, database_url=own_database(places.port))
        with connection.cursor() as cursor:
            # The connection of this process holds the lock, so that it is released when the process ends in any way.
            cursor.execute("SELECT pg_try_advisory_lock(%s)", [advisory_locks.RUNNING_COPY])
            is_locked = cursor.fetchone()[0]
    except OperationalError as error:
        raise CannotRun(f"The database cannot be reached: {' '.join(str(error).split())}") from None
    if not is_locked:
        raise CannotRun(
            "Another copy uses the same database. Stop it, or give this copy its own database (DATABASE_URL)."
        )
    say("Migrating the database.")
    try:
        call_command("migrate", verbosity=0, interactive=False)
    except CommandError as error:
        # Without this, a command in another terminal would use the default database.
        prefix = f"export DATABASE_URL={shlex.quote(places.database_url)}; " if places.database_url else ""
        raise CannotRun(f"{prefix}{error}") from None
    return places


def own_database(port: int) -> str:
    """Create and use a separate embedded database for a copy on another port than the default. Return its URL.

    On the default port, and with DATABASE_URL, it does nothing and returns "".
    """
    if port == DEFAULT_PORT or settings.DATABASES["default"]["ENGINE"] != devdb.ENGINE:
        return ""
    name = f"kilabu_{port}"
    with connection.cursor() as cursor:
        cursor.execute("SELECT EXISTS (SELECT FROM pg_database WHERE datname = %s)", [name])
        if not cursor.fetchone()[0]:
            cursor.execute(f"CREATE DATABASE {name}")  # the name has only letters and digits of this function
    params = connection.get_connection_params()
    connection.close()
    connection.settings_dict["NAME"] = name
    return f"postgresql://{params['user']}@/{name}?host={params['host']}"


def programs(places: Places, *, autoreload: bool) -> list[Program]:
    """Return the processes of one copy."""
    bind, env = f"127.0.0.1:{places.port}", places.env
    if autoreload:
        web = [*MANAGE, "runserver", bind]
    else:
        env |= {"DATABASE_CONN_MAX_AGE": "60"}  # as in production, because gunicorn reuses its threads
        web = [sys.executable, "-m", "gunicorn", "config.wsgi:application", "--chdir", str(settings.BASE_DIR)]
        web += ["--config", str(settings.BASE_DIR / "gunicorn.conf.py")]
        # With --preload, Django starts once and the workers are forks. gunicorn's control socket would be in the user's
        # home folder, one for all copies.
        web += ["--preload", "--no-control-socket", "--log-level", "warning"]
        web += ["--bind", bind, "--worker-class", "gthread", "--workers", "2", "--threads", "8"]
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
    """Run one management command with the environment of the copy.

    :raises CannotRun: it failed. The text has its output
    """
    done = subprocess.run(  # noqa: S603 - our own command
        [*MANAGE, *words], env={**os.environ, **places.env}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise CannotRun(f"`manage.py {words[0]}` failed:\n{done.stdout}{done.stderr}")


def supervisor(places: Places, *, autoreload: bool, say: Callable[[str], None]) -> Supervisor:
    """Return a supervisor of the copy's processes. The names of their logs end with the port."""
    log_dir: Path = settings.STATE_DIR / "log"
    return Supervisor(
        programs(places, autoreload=autoreload),
        log_dir=log_dir,
        say=say,
        suffix=f"-{places.port}",
        watched=settings.BASE_DIR if autoreload else None,
    )


def farewell() -> str:
    """Return the last message: what still runs after the command has stopped."""
    if settings.DATABASES["default"]["ENGINE"] == devdb.ENGINE:
        return "Stopped. The embedded database keeps running for the next start. `manage.py devdb stop` stops it."
    return "Stopped. Nothing is left running."


def urls(places: Places) -> list[tuple[str, str]]:
    """Return the URLs to open, by name. For a copy with its own database, add the shell command that selects it."""
    found = [("App", f"{places.web}/"), ("Admin", f"{places.web}/admin/"), ("API", f"{places.web}/api/v1/docs/")]
    found = [(name, url) for name, url in found if exists(url)]
    if places.simulator_port:
        found.append(("Phone", f"{places.simulator}/phone/"))
    if places.public_url != places.web:
        found.append(("Public", places.public_url))
    if places.database_url:
        # For manage.py commands on this copy in another terminal.
        names = " ".join(f"{name}={shlex.quote(value)}" for name, value in places.env.items())
        found.append(("Shell", f"export {names}"))
    return found


def exists(url: str) -> bool:
    """Return whether a URL answers without an error."""
    try:
        return requests.get(url, timeout=5).status_code < 400
    except requests.RequestException:
        return False
