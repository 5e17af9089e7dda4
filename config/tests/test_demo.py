"""`manage.py demo --once`, from a port in use to a walked purchase."""

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
from config.dev.demo_gym import PASSWORD
from config.dev.processes import CannotRun
from config.dev.walkthrough import STAFF_PASSWORD

pytestmark = pytest.mark.server


def test_the_walk_knows_the_demo_gyms_password():
    assert STAFF_PASSWORD == PASSWORD


def test_a_port_in_use_is_told_before_anything_starts():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        with pytest.raises(CommandError) as raised:
            call_command("demo", port=port)

    said = f"Port {port} is in use by another program: stop it, or give another with --port (make: PORT=8710)."
    assert str(raised.value) == said


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


def free_neighbours() -> int:
    """Return a free port whose next one is free too."""
    while True:
        port = free_port()
        try:
            with socket.create_server(("127.0.0.1", port + 1)):
                return port
        except OSError:
            continue


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_a_stranger_becomes_a_member_over_real_http(tmp_path):
    place = connection.get_connection_params()
    address = f"postgresql://{place['user']}@/{place['dbname']}?host={place['host']}"
    outside = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    env = outside | {"ENVIRONMENT": "development", "DATABASE_URL": address, "STATE_DIR": str(tmp_path)}

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
def test_a_second_copy_on_the_same_database_is_refused():
    place = connection.get_connection_params()
    with psycopg.connect(dbname=place["dbname"], user=place["user"], host=place["host"]) as other:
        other.execute("SELECT pg_advisory_lock(%s)", [advisory_locks.RUNNING_COPY])

        with pytest.raises(CannotRun) as raised:
            product.prepare_database(product.Places(product.DEFAULT_PORT, None, "https://club.ke"), print)

    assert str(raised.value) == (
        "Another copy runs on the same database: stop it, or give this one a database of its own (DATABASE_URL)."
    )


def test_a_copy_on_another_port_has_settings_of_its_own():
    places = product.Places(8033, 8034, "https://club.ke", database_url="postgresql://kilabu@/kilabu_8033")

    assert places.env == {
        "PUBLIC_URL": "https://club.ke",
        "DATABASE_URL": "postgresql://kilabu@/kilabu_8033",
        "STATE_DIR": str(settings.STATE_DIR / "8033"),
        "DARAJA_SIMULATOR_URL": "http://127.0.0.1:8034",
        "ALLOWED_HOSTS": ",".join([*settings.ALLOWED_HOSTS, "club.ke"]),
        "CSRF_TRUSTED_ORIGINS": ",".join([*settings.CSRF_TRUSTED_ORIGINS, "https://club.ke"]),
    }


def test_the_simulator_takes_the_next_port_so_that_copies_run_side_by_side(settings):
    settings.SIMULATED = True
    port = free_neighbours()

    places = product.choose_places(port=port, simulator_port=None)

    assert places == product.Places(port, port + 1, f"http://127.0.0.1:{port}")


@pytest.mark.parametrize(
    ("engine", "said"),
    [("config.dev.devdb", "`manage.py devdb stop` ends it"), ("django.db.backends.postgresql", "nothing is left")],
)
def test_the_last_words_own_up_to_a_database_that_stays(monkeypatch, engine, said):
    monkeypatch.setitem(settings.DATABASES["default"], "ENGINE", engine)

    assert said in product.farewell()
