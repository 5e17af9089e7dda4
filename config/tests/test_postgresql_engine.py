"""The PostgreSQL engine: the health check of a reused connection."""

import os
import select
import socket

import psycopg
import pytest
from django.core.handlers.wsgi import WSGIHandler
from django.db import connection
from django.test import RequestFactory

from accounts.tests.factories import UserFactory
from api.tests.clients import logged_in_as

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.server]


@pytest.fixture
def serve(monkeypatch):
    """Return a function that serves one request of a logged-in user, as a web server does, on a reused connection."""
    monkeypatch.setitem(connection.settings_dict, "CONN_MAX_AGE", None)
    header = "; ".join(f"{name}={cookie.value}" for name, cookie in logged_in_as(UserFactory()).cookies.items())
    handler = WSGIHandler()

    def serve_request():
        statuses = []
        environ = RequestFactory().get("/api/v1/auth/me/", secure=True, HTTP_COOKIE=header).environ
        handler(environ, lambda status, headers: statuses.append(status)).close()
        return statuses[0]

    connection.close()
    serve_request()
    yield serve_request
    connection.close()


@pytest.fixture
def other_connection():
    """Another connection to the server."""
    place = {name: connection.get_connection_params().get(name) for name in ("dbname", "user", "password", "host")}
    with psycopg.connect(**place, autocommit=True) as connected:
        yield connected


@pytest.fixture
def statements(tmp_path):
    """Return a function that returns the statements which a call sends on the connection, with health checks."""

    def sent_by(call):
        pgconn = connection.connection.pgconn
        with (tmp_path / "trace").open("w+") as trace:
            pgconn.trace(trace.fileno())
            call()
            pgconn.untrace()
            trace.seek(0)
            return [each.split("\t")[-1].strip() for each in trace if "\tQuery\t" in each or "\tParse\t" in each]

    return sent_by


def backend_pid() -> int:
    """Return the id of the server process of the connection."""
    return connection.connection.info.backend_pid


def wait_until_readable() -> None:
    """Wait until the socket of the connection has something to read."""
    assert select.select([connection.connection.fileno()], [], [], 5)[0]


def test_request_on_a_reused_connection_sends_no_health_check(serve, statements):
    first = backend_pid()

    sent = statements(serve)

    assert backend_pid() == first
    assert len(sent) == 1
    assert "accounts_loginsession" in sent[0]


def test_connection_ended_by_the_server_is_replaced(serve, other_connection):
    first = backend_pid()
    other_connection.execute("SELECT pg_terminate_backend(%s)", [first])
    wait_until_readable()

    assert serve() == "200 OK"
    assert backend_pid() != first


def test_broken_connection_is_replaced(serve):
    first = backend_pid()
    with socket.socket(fileno=os.dup(connection.connection.fileno())) as line:
        line.shutdown(socket.SHUT_RDWR)

    assert serve() == "200 OK"
    assert backend_pid() != first


def test_closed_connection_is_replaced(serve):
    connection.connection.close()

    assert serve() == "200 OK"


def test_connection_with_a_notification_is_checked_and_reused(serve, other_connection, statements):
    first = backend_pid()
    connection.connection.execute("LISTEN news")
    other_connection.execute("NOTIFY news")
    wait_until_readable()

    assert statements(serve)[0] == '"SELECT 1"'
    assert backend_pid() == first
    assert len(statements(serve)) == 1


def test_connection_is_checked_after_an_error(serve, statements):
    connection.errors_occurred = True

    assert statements(serve)[0] == '"SELECT 1"'


def test_connection_in_a_failed_transaction_is_replaced(serve):
    first = backend_pid()
    with pytest.raises(psycopg.Error):
        connection.connection.execute("BEGIN; SELECT 1/0")

    assert serve() == "200 OK"
    assert backend_pid() != first
