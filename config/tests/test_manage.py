"""manage.py: its version, its tests, closed output, and a missing or outdated database."""

import os
import platform
import re
import subprocess
import sys

import django
import pytest
from django.conf import settings
from django.db import OperationalError, connection

import manage
from api.version import VERSION

pytestmark = pytest.mark.server

NO_DOT_ENV = "import environ; environ.Env.read_env = lambda *a, **k: None; import manage; manage.main()"
NO_SERVER = "postgresql://kilabu:hush@127.0.0.1:1/kilabu"


def run(*words, **environment):
    """Run manage.py in another process, without a developer's .env."""
    return run_into(subprocess.PIPE, *words, **environment)


def run_into(stdout, *words, **environment):
    return subprocess.run(  # noqa: S603
        [sys.executable, "-c", NO_DOT_ENV, *words],
        cwd=settings.BASE_DIR,
        env={"PATH": os.environ["PATH"], **environment},
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("word", ["version", "--version"])
def test_version_needs_no_settings(word):
    done = run(word)

    line = f"Kilabu {VERSION} (Django {django.get_version()}, Python {platform.python_version()})\n"
    assert (done.returncode, done.stdout, done.stderr) == (0, line, "")


def test_test_passes_its_arguments_to_pytest():
    done = run("test", "--collect-only", "-q", "api/tests/test_phones.py", ENVIRONMENT="nonsense")

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("api/tests/test_phones.py::test_")


# --- Closed output ---


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("command", ["version", "doctor"])
def test_closed_output_ends_without_traceback(command, unbuffered):
    reader, writer = os.pipe()
    os.close(reader)

    done = run_into(writer, command, ENVIRONMENT="development", DATABASE_URL=NO_SERVER, PYTHONUNBUFFERED=unbuffered)
    os.close(writer)

    assert done.returncode == 141
    assert done.stderr in ("", "CommandError: 1 thing is missing.\n")


# --- A missing or outdated database ---


@pytest.mark.parametrize(
    "words",
    [["runserver", "--noreload", "127.0.0.1:1"], ["runserver", "127.0.0.1:1"], ["procrastinate", "worker"]],
    ids=" ".join,
)
def test_servers_name_a_missing_database_in_one_line(words):
    done = run(*words, ENVIRONMENT="development", DATABASE_URL=NO_SERVER)

    begin = re.escape("Kilabu cannot reach its database (start it, or correct DATABASE_URL): ")
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(rf"{begin}[^\n]+ refused[^\n]*\n", done.stderr), done.stderr


@pytest.mark.parametrize("command", ["runserver", "procrastinate"])
def test_help_of_servers_needs_no_database(command):
    done = run(command, "--help", ENVIRONMENT="development", DATABASE_URL=NO_SERVER)

    assert (done.returncode, done.stderr) == (0, "")


@pytest.fixture
def pauses(monkeypatch):
    """The pauses, which do not really wait. The database answers after three."""
    made = []

    def ensure_connection():
        if len(made) < 3:
            raise OperationalError("connection refused")

    monkeypatch.setattr(connection, "ensure_connection", ensure_connection)
    monkeypatch.setattr(manage.time, "sleep", made.append)
    return made


def test_production_waits_for_a_slow_database(pauses, settings):
    settings.PRODUCTION = True

    manage.connect()

    assert pauses == [1, 1, 1]


def test_development_does_not_wait_for_the_database(pauses):
    with pytest.raises(OperationalError):
        manage.connect()

    assert pauses == []


@pytest.fixture
def without_tables(transactional_db):
    """The URL of a database without tables."""
    params = connection.get_connection_params()
    name = f"{params['dbname']}_without_tables"
    with connection.cursor() as cursor:
        cursor.execute(f"DROP DATABASE IF EXISTS {name}")
        cursor.execute(f"CREATE DATABASE {name} TEMPLATE template0")
    yield f"postgresql://{params['user']}@/{name}?host={params['host']}"
    with connection.cursor() as cursor:
        cursor.execute(f"DROP DATABASE {name}")


def test_database_without_tables_is_named_in_one_line(without_tables):
    done = run("audit_books", ENVIRONMENT="development", DATABASE_URL=without_tables)

    expected = r'The database is not up to date \(relation "\w+" does not exist\): run `manage.py migrate` first.\n'
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(expected, done.stderr), done.stderr
