"""`manage.py demo --once`: ports, databases and the walkthrough."""

import os
import socket
import subprocess
import sys

import psycopg
import pytest
from django.conf import settings
from django.core.management import CommandError, call_command
from django.db import connection

from api import advisory_locks
from config.dev import product
from config.dev.actors import STAFF_PASSWORD
from config.dev.demo_gym import PASSWORD
from config.dev.processes import CannotRun

pytestmark = pytest.mark.server


def test_walkthrough_has_the_password_of_the_demo_gym():
    assert STAFF_PASSWORD == PASSWORD


def test_port_in_use_is_reported_before_anything_starts():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        with pytest.raises(CommandError) as raised:
            call_command("demo", port=port)

    assert str(raised.value) == (
        f"Port {port} is in use by another program. Stop that program, or choose another port with --port"
        " (make: PORT=8710)."
    )


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


def free_port_pair() -> int:
    """Return a free port whose next port is free too."""
    while True:
        port = free_port()
        try:
            with socket.create_server(("127.0.0.1", port + 1)):
                return port
        except OSError:
            continue


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_walkthrough_succeeds_over_real_http(tmp_path):
    place = connection.get_connection_params()
    url = f"postgresql://{place['user']}@/{place['dbname']}?host={place['host']}"
    outside = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    env = outside | {"ENVIRONMENT": "development", "DATABASE_URL": url, "STATE_DIR": str(tmp_path)}

    command = [
        sys.executable,
        "manage.py",
        "demo",
        "--once",
        "--main-only",
        "--members",
        "5",
        "--port",
        str(free_port()),
    ]
    command += ["--simulator-port", str(free_port())]
    done = subprocess.run(  # noqa: S603
        command, cwd=settings.BASE_DIR, env=env, capture_output=True, text=True, timeout=300
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("\nThe membership is active and the books balance.\n")


@pytest.mark.django_db
def test_second_copy_on_one_database_is_refused():
    place = connection.get_connection_params()
    with psycopg.connect(dbname=place["dbname"], user=place["user"], host=place["host"]) as other:
        other.execute("SELECT pg_advisory_lock(%s)", [advisory_locks.RUNNING_COPY])

        with pytest.raises(CannotRun) as raised:
            product.prepare_database(product.Places(product.DEFAULT_PORT, None, "https://club.ke"), print)

    assert str(raised.value) == (
        "Another copy uses the same database. Stop it, or give this copy its own database (DATABASE_URL)."
    )


def test_copy_on_another_port_has_its_own_settings():
    places = product.Places(8033, 8034, "https://club.ke", database_url="postgresql://kilabu@/kilabu_8033")

    assert places.env == {
        "PUBLIC_URL": "https://club.ke",
        "DATABASE_URL": "postgresql://kilabu@/kilabu_8033",
        "STATE_DIR": str(settings.STATE_DIR / "8033"),
        "DARAJA_SIMULATOR_URL": "http://127.0.0.1:8034",
        "ALLOWED_HOSTS": ",".join([*settings.ALLOWED_HOSTS, "club.ke"]),
        "CSRF_TRUSTED_ORIGINS": ",".join([*settings.CSRF_TRUSTED_ORIGINS, "https://club.ke"]),
    }


def test_simulator_uses_the_next_port(settings):
    settings.SIMULATED = True
    port = free_port_pair()

    places = product.choose_places(port=port, simulator_port=None)

    assert places == product.Places(port, port + 1, f"http://127.0.0.1:{port}")


@pytest.mark.parametrize("simulated", [True, False])
def test_public_url_of_a_tunnel_is_used_with_and_without_simulator(settings, simulated):
    settings.SIMULATED, settings.PUBLIC_URL = simulated, "https://tunnel.example"

    places = product.choose_places(port=free_port_pair(), simulator_port=None)

    assert places.public_url == "https://tunnel.example"


@pytest.mark.parametrize(
    ("engine", "message"),
    [("config.dev.devdb", "`manage.py devdb stop` stops it"), ("config.postgresql", "Nothing is left running")],
)
def test_farewell_mentions_a_database_that_keeps_running(monkeypatch, engine, message):
    monkeypatch.setitem(settings.DATABASES["default"], "ENGINE", engine)

    assert message in product.farewell()
