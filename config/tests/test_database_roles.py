"""The two database roles of docs/operations.md: its SQL makes them, and the product runs with them."""

import os
import re
import subprocess
import sys
from secrets import token_hex

import psycopg
import pytest
from django.conf import settings
from django.db import connection
from psycopg import sql

from config.dev.doctor import UNPROTECTED_TABLES

pytestmark = [pytest.mark.django_db, pytest.mark.server, pytest.mark.slow]

REFUSED = [
    "TRUNCATE payments_ledgerentry",
    "TRUNCATE payments_payment CASCADE",
    "DROP TABLE subscriptions_visit",
    "ALTER TABLE payments_receipt DISABLE TRIGGER receipt_terms_stay",
    "ALTER TABLE payments_receipt DROP COLUMN amount",
    "DROP TRIGGER receipt_terms_stay ON payments_receipt",
    "DROP FUNCTION payments_refuse_edit CASCADE",
    "CREATE OR REPLACE FUNCTION payments_refuse_edit() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
    "CREATE TRIGGER mine BEFORE UPDATE ON payments_receipt FOR EACH ROW EXECUTE FUNCTION payments_refuse_edit()",
    "SET session_replication_role = replica",
    "DELETE FROM payments_ledgerentry",
]
# A purchase by STK push, and an entry at the gate.
USE = """
from payments.tests.factories import NOON, make_push
from payments.evidence import stk_results
from payments.daraja.messages import StkResult
from subscriptions import gate
from subscriptions.tests.factories import pending
period = pending()
push = make_push(period.payment)
result = StkResult(push.merchant_request_id, push.checkout_request_id, "0", "", 1500, "TKN0000001", NOON)
stk_results.apply_stk_result(push_id=push.pk, result=result, source="callback", now=NOON)
period.refresh_from_db()
answer = gate.check_in(member_number=period.member.member_number, recorded_by_id=None, now=NOON)
assert (period.fact, answer.decision) == ("granted", "allow")
"""


class Server:
    """A database on the server of the tests, with roles whose names no other test has."""

    def __init__(self):
        self.name = f"kilabu_{token_hex(4)}"
        self.params = connection.get_connection_params() | {"options": ""}

    def run(self, script: str) -> None:
        """Run a script of docs/operations.md as a superuser, as psql does."""
        first, _, second = script.replace("kilabu", self.name).partition(f"\\connect {self.name}\n")
        for database, statements in (("postgres", first), (self.name, second)):
            with psycopg.connect(**self.params | {"dbname": database}, autocommit=True) as superuser:
                for statement in filter(str.strip, statements.split(";")):
                    superuser.execute(statement)

    def url(self, role: str, password: str) -> str:
        host = self.params.get("host", "")
        return f"postgresql://{role}:{password}@/{self.name}?host={host}&port={self.params.get('port') or 5432}"

    def manage(self, url: str, *arguments: str) -> str:
        environment = {"PATH": os.environ["PATH"], "ENVIRONMENT": "development", "DATABASE_URL": url}
        command = [sys.executable, "manage.py", *arguments]
        done = subprocess.run(  # noqa: S603
            command, cwd=settings.BASE_DIR, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def drop(self) -> None:
        with psycopg.connect(**self.params | {"dbname": "postgres"}, autocommit=True) as superuser:
            superuser.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(self.name)))
            for role in (self.name, f"{self.name}_owner"):
                superuser.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(sql.Identifier(role)))


@pytest.fixture
def server():
    made = Server()
    yield made
    made.drop()


def scripts() -> tuple[str, str]:
    """Return the SQL of docs/operations.md for a new database, and for one that has one role."""
    page = (settings.BASE_DIR / "docs/operations.md").read_text(encoding="utf-8")
    new, existing = re.findall(r"^ +```sql\n(.*?)```", page, re.DOTALL | re.MULTILINE)
    return tuple(re.sub("^ +", "", script, flags=re.MULTILINE) for script in (new, existing))


@pytest.mark.parametrize("is_new", [True, False])
def test_documented_roles_run_the_product_and_protect_the_tables(server, is_new):
    new, existing = scripts()
    owner, application = server.url(f"{server.name}_owner", "choose-one"), server.url(server.name, "choose-another")
    if is_new:
        server.run(new)
        server.manage(owner, "migrate", "--verbosity", "0")
    else:
        server.run("CREATE ROLE kilabu LOGIN PASSWORD 'choose-another'; CREATE DATABASE kilabu OWNER kilabu;")
        server.manage(application, "migrate", "--verbosity", "0")
        server.run(existing)

    server.manage(application, "shell", "-c", USE)

    assert "invariants hold" in server.manage(application, "audit_books")
    server.manage(owner, "migrate", "--check")
    with psycopg.connect(application, autocommit=True) as role:
        assert [each for each in REFUSED if not is_refused(role, each)] == []
        assert role.execute(UNPROTECTED_TABLES).fetchone() == (0,)
    with psycopg.connect(owner) as role:
        assert role.execute(UNPROTECTED_TABLES).fetchone() > (0,)


def is_refused(role, statement: str) -> bool:
    try:
        role.execute(statement)
    except (psycopg.errors.InsufficientPrivilege, psycopg.errors.RestrictViolation):
        return True
    return False
