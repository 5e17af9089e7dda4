"""Adoption of databases that were migrated before the first release."""

from io import StringIO

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command
from django.db import connection
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder

from config import adoption
from config.dev import product
from config.dev.processes import CannotRun
from payments.models import ReceiptCounter

pytestmark = pytest.mark.server

EMBEDDED_REFUSAL = (
    "This database was migrated before the first release, by migrations that were replaced since. "
    "Keep its data with `manage.py adopt_migrations`, or delete everything with `manage.py devdb reset`."
)


def recorded() -> set[adoption.Migration]:
    """Return the records of our apps in django_migrations."""
    return {key for key in MigrationRecorder(connection).applied_migrations() if key[0] in adoption.NEW}


def run(*statements: str) -> None:
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


def adopt_migrations() -> str:
    output = StringIO()
    call_command("adopt_migrations", stdout=output)
    return output.getvalue()


def record_old_migrations() -> None:
    recorder = MigrationRecorder(connection)
    recorder.migration_qs.filter(app__in=adoption.NEW).delete()
    for app, name in adoption.pairs(adoption.OLD):
        recorder.record_applied(app, name)


@pytest.fixture
def old_record(db):
    """The present tables with the old records: enough for tests that read only the records."""
    record_old_migrations()
    yield
    run("SELECT pg_advisory_unlock_all()")  # prepare_database holds a lock until its process ends


@pytest.fixture
def old_database(db):
    """A schema as it was before the first release: the old records, and no later migration."""
    with adoption.fresh_schema(connection, "kilabu_old"):
        record_old_migrations()
        yield


@pytest.fixture
def embedded(monkeypatch):
    monkeypatch.setitem(settings.DATABASES["default"], "ENGINE", "config.dev.devdb")


# --- Refused by migrate ---


@pytest.mark.parametrize("options", [{}, {"plan": True}, {"check_unapplied": True}, {"app_label": "payments"}])
def test_migrate_refuses_an_old_database(old_record, embedded, options):
    with pytest.raises(CommandError) as raised:
        call_command("migrate", **options)

    assert str(raised.value) == EMBEDDED_REFUSAL
    assert recorded() == adoption.pairs(adoption.OLD)


def test_migrate_does_not_offer_devdb_reset_for_another_server(old_record, monkeypatch):
    monkeypatch.setitem(settings.DATABASES["default"], "ENGINE", "config.postgresql")

    with pytest.raises(CommandError) as raised:
        call_command("migrate")

    assert str(raised.value) == EMBEDDED_REFUSAL.replace(
        "delete everything with `manage.py devdb reset`", "use an empty database"
    )


def test_demo_refuses_an_old_database(old_record, embedded):
    with pytest.raises(CannotRun) as raised:
        product.prepare_database(product.Places(product.DEFAULT_PORT, None, "https://club.ke"), lambda text: None)

    assert str(raised.value) == EMBEDDED_REFUSAL


def test_demo_on_another_port_names_its_own_database(old_record, embedded, monkeypatch):
    monkeypatch.setattr(product, "own_database", lambda port: "postgresql://postgres@/kilabu_8010?host=/run/pg")

    with pytest.raises(CannotRun) as raised:
        product.prepare_database(product.Places(8010, None, "https://club.ke"), lambda text: None)

    assert (
        str(raised.value)
        == f"export DATABASE_URL='postgresql://postgres@/kilabu_8010?host=/run/pg'; {EMBEDDED_REFUSAL}"
    )


def test_present_and_empty_databases_are_not_refused(db):
    assert adoption.refusal(connection) == ""

    MigrationRecorder(connection).migration_qs.all().delete()
    assert adoption.refusal(connection) == ""

    run("DROP TABLE django_migrations")
    assert adoption.refusal(connection) == ""


def test_no_file_has_the_name_of_a_replaced_migration():
    present = set(MigrationLoader(None).disk_migrations)

    assert adoption.pairs(adoption.NEW) <= present
    assert (adoption.pairs(adoption.OLD) - adoption.pairs(adoption.NEW)) & present == set()


# --- Adoption ---


def test_adoption_replaces_the_record_and_keeps_the_tables(old_database):
    run("INSERT INTO payments_receiptcounter (year, last) VALUES (2026, 41)")
    others = set(MigrationRecorder(connection).applied_migrations()) - recorded()
    tables = adoption.catalog(connection)

    output = adopt_migrations()

    assert output == "Adopted: the record of 48 old migrations was replaced. Run `manage.py migrate` now.\n"
    assert recorded() == adoption.pairs(adoption.NEW)
    assert set(MigrationRecorder(connection).applied_migrations()) - recorded() == others
    assert adoption.catalog(connection) == tables
    assert list(ReceiptCounter.objects.values_list("year", "last")) == [(2026, 41)]
    assert adoption.refusal(connection) == ""


def test_a_second_adoption_changes_nothing(old_database):
    adopt_migrations()
    before = MigrationRecorder(connection).applied_migrations()

    output = adopt_migrations()

    assert output == "Nothing to adopt: this database has none of the old migrations.\n"
    assert {key: row.pk for key, row in MigrationRecorder(connection).applied_migrations().items()} == {
        key: row.pk for key, row in before.items()
    }


def test_adoption_does_not_change_a_present_database(db):
    before = recorded()

    output = adopt_migrations()

    assert output == "Nothing to adopt: this database has none of the old migrations.\n"
    assert recorded() == before


# --- Adoption refused ---


def test_adoption_is_refused_when_a_trigger_is_missing(old_database):
    run("DROP TRIGGER ledgerentry_append_only ON payments_ledgerentry")

    with pytest.raises(CommandError) as raised:
        adopt_migrations()

    assert str(raised.value) == (
        "Nothing was changed, because the tables are not those that the migrations create:\n"
        "missing: trigger ledgerentry_append_only on payments_ledgerentry\n"
        "Make a dump, correct the differences with SQL, and run this command again."
    )
    assert recorded() == adoption.pairs(adoption.OLD)


def test_each_kind_of_difference_is_named(old_database):
    run(
        "ALTER TABLE payments_cashsession ALTER note TYPE text",
        "ALTER TABLE payments_payment ALTER description DROP NOT NULL",
        "ALTER TABLE payments_callback ALTER next_try_at DROP DEFAULT",
        "ALTER TABLE payments_callback ADD COLUMN extra integer",
        "ALTER TABLE subscriptions_subscription DROP CONSTRAINT subscription_periods_do_not_overlap",
        "ALTER TABLE payments_refund DISABLE TRIGGER refund_append_only",
        "DROP INDEX user_by_last_digits",
        "DROP TABLE api_counter",
        "ALTER SEQUENCE accounts_member_number_seq NO CYCLE",
        "CREATE OR REPLACE FUNCTION payments_receipt_changed() RETURNS trigger LANGUAGE plpgsql"
        " AS $$BEGIN RETURN NULL; END$$",
    )

    found = adoption.differences(connection)

    append_only = (
        "CREATE TRIGGER refund_append_only BEFORE DELETE OR UPDATE ON payments_refund"
        " FOR EACH ROW EXECUTE FUNCTION payments_refuse_change()"
    )
    function = "CREATE OR REPLACE FUNCTION payments_receipt_changed() RETURNS trigger LANGUAGE plpgsql AS $function$"
    overlap = "subscription_periods_do_not_overlap"
    assert found == [
        "missing: column api_counter.count",
        "missing: column api_counter.key",
        "missing: column api_counter.resets_at",
        "missing: constraint api_counter_count_check on api_counter",
        "missing: constraint api_counter_pkey on api_counter",
        f"missing: constraint {overlap} on subscriptions_subscription",
        "missing: index api_counter_key_f43dbb4d_like on api_counter",
        "missing: index api_counter_pkey on api_counter",
        "missing: index api_counter_resets_at_cb617644 on api_counter",
        f"missing: index {overlap} on subscriptions_subscription",
        "missing: index user_by_last_digits on accounts_customuser",
        "missing: table api_counter",
        "unexpected: column payments_callback.extra",
        "different: column payments_callback.next_try_at: timestamp with time zone NOT NULL; "
        "expected: timestamp with time zone NOT NULL DEFAULT statement_timestamp()",
        "different: column payments_cashsession.note: text NOT NULL; expected: character varying(255) NOT NULL",
        "different: column payments_payment.description: character varying(120); "
        "expected: character varying(120) NOT NULL",
        f"different: function payments_receipt_changed(): {function}BEGIN RETURN NULL; END$function$ ; "
        f"expected: {function} BEGIN PERFORM payments_allocations_fit_receipt(NEW.id); RETURN NULL; END $function$",
        "different: sequence accounts_member_number_seq: bigint 100001 1 1 999999 1 f; "
        "expected: bigint 100001 1 1 999999 1 t",
        f"different: trigger refund_append_only on payments_refund: {append_only} D; expected: {append_only} O",
    ]
