"""A kept connection is looked at before its next request, and a look costs no statement."""

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
def ask(monkeypatch):
    """Serve one request of who is logged in as a web server does, on a connection that outlives it."""
    monkeypatch.setitem(connection.settings_dict, "CONN_MAX_AGE", None)
    header = "; ".join(f"{name}={cookie.value}" for name, cookie in logged_in_as(UserFactory()).cookies.items())
    handler = WSGIHandler()

    def serve():
        statuses = []
        environ = RequestFactory().get("/api/v1/auth/me/", secure=True, HTTP_COOKIE=header).environ
        handler(environ, lambda status, headers: statuses.append(status)).close()
        return statuses[0]

    connection.close()
    serve()
    yield serve
    connection.close()


@pytest.fixture
def outside():
    """Another connection to the server."""
    place = {name: connection.get_connection_params().get(name) for name in ("dbname", "user", "password", "host")}
    with psycopg.connect(**place, autocommit=True) as other:
        yield other


@pytest.fixture
def statements(tmp_path):
    """Run something and return what it sends on the kept connection, health checks and all."""

    def told_by(run):
        line = connection.connection.pgconn
        with (tmp_path / "trace").open("w+") as trace:
            line.trace(trace.fileno())
            run()
            line.untrace()
            trace.seek(0)
            return [each.split("\t")[-1].strip() for each in trace if "\tQuery\t" in each or "\tParse\t" in each]

    return told_by


def process() -> int:
    """Return the number of the server's process at the other end."""
    return connection.connection.info.backend_pid


def wait_for_news() -> None:
    """Wait until there is something to read on the silent connection."""
    assert select.select([connection.connection.fileno()], [], [], 5)[0]


def test_a_request_on_a_kept_connection_sends_its_own_statement_and_no_other(ask, statements):
    first = process()

    sent = statements(ask)

    assert process() == first
    assert len(sent) == 1
    assert "accounts_loginsession" in sent[0]


def test_a_connection_that_the_server_has_ended_is_replaced_before_the_next_request(ask, outside):
    first = process()
    outside.execute("SELECT pg_terminate_backend(%s)", [first])
    wait_for_news()

    assert ask() == "200 OK"
    assert process() != first


def test_a_connection_whose_other_end_is_gone_without_a_word_is_replaced_before_the_next_request(ask):
    first = process()
    with socket.socket(fileno=os.dup(connection.connection.fileno())) as line:
        line.shutdown(socket.SHUT_RDWR)

    assert ask() == "200 OK"
    assert process() != first


def test_a_connection_that_was_closed_here_is_replaced_before_the_next_request(ask):
    connection.connection.close()

    assert ask() == "200 OK"


def test_a_connection_on_which_the_server_has_said_something_else_is_kept(ask, outside, statements):
    first = process()
    connection.connection.execute("LISTEN news")
    outside.execute("NOTIFY news")
    wait_for_news()

    assert statements(ask)[0] == '"SELECT 1"'
    assert process() == first
    assert len(statements(ask)) == 1


def test_a_connection_is_asked_after_an_error(ask, statements):
    connection.errors_occurred = True

    assert statements(ask)[0] == '"SELECT 1"'


def test_a_connection_that_was_left_in_a_failed_transaction_is_replaced_before_the_next_request(ask):
    first = process()
    with pytest.raises(psycopg.Error):
        connection.connection.execute("BEGIN; SELECT 1/0")

    assert ask() == "200 OK"
    assert process() != first
