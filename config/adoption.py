"""Adoption of databases that were migrated before the first release, by 48 migrations that were replaced since.

Their table django_migrations has names without a file. `migrate` refuses such a database. `adopt_migrations` replaces
the names, after it has compared the tables with those that the present migrations create.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from django.conf import settings
from django.db import transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.recorder import MigrationRecorder

from config.dev import devdb

Migration = tuple[str, str]  # app and name

OLD = {
    "api": [
        "0001_counters",
        "0002_exports",
        "0003_keep_exports",
    ],
    "accounts": [
        "0001_initial",
        "0002_member_numbers_and_append_only_audit",
        "0003_one_time_codes",
        "0004_notices_and_address_changes",
        "0005_random_picture_names",
        "0006_second_factor",
        "0007_session_has_second_factor",
        "0008_find_people_by_hashed_phone",
        "0009_find_people_by_how_names_begin",
        "0010_find_people_by_the_last_digits_of_a_phone",
        "0011_call_log_ins_so",
        "0012_a_password_waits_for_its_code",
    ],
    "payments": [
        "0001_initial",
        "0002_protect_the_books",
        "0003_pair_prompts_with_confirmations",
        "0004_desk_money",
        "0005_allocations_agree_with_money",
        "0006_share_daraja_token_and_rate",
        "0007_ask_about_codes",
        "0008_record_refunds_and_drawers",
        "0009_book_what_drawers_were_over_or_short",
        "0010_allocations_fit_what_receipts_hold",
        "0011_ask_for_a_deposit",
        "0012_hold_deposits_to_the_money",
        "0013_say_a_thing_of_a_receipt_once",
        "0014_take_desk_money_once_per_key",
        "0015_ask_for_voids",
        "0016_note_tax_numbers",
        "0017_keep_callbacks_and_refunds",
        "0018_let_a_drawer_be_expected_below_zero",
        "0019_sum_what_came",
        "0020_name_channels_as_people_do",
        "0021_let_workers_take_what_is_left",
        "0022_drop_what_is_no_money",
        "0023_call_lists_as_people_do",
    ],
    "subscriptions": [
        "0001_initial",
        "0002_gate_hours_upgrades_and_closures",
        "0003_keep_the_hours_bought_and_bound_plans",
        "0004_ask_for_a_deposit",
        "0005_say_what_a_limit_of_none_means",
        "0006_find_visits_by_day",
        "0007_let_nothing_unknown_pass",
        "0008_find_periods_by_status",
        "0009_bound_prices",
        "0010_keep_the_keys_of_repeated_requests",
    ],
}
# The migrations that replaced them. Do not add later migrations: `migrate` runs those after the adoption.
NEW = {
    "api": ["0001_initial", "0002_protect_exports"],
    "accounts": ["0001_initial", "0002_protect_the_audit", "0003_authenticator"],
    "payments": ["0001_initial", "0002_protect_books_and_evidence"],
    "subscriptions": ["0001_initial"],
}

SCRATCH = "kilabu_adoption"  # a schema that is rolled back, so that no other transaction sees it
# Everything that the migrations create under our apps' names in the current schema, with its definition. NOT NULL is
# read from the columns, because it is a constraint only since PostgreSQL 18. Constraint triggers are read as triggers.
CATALOG = r"""
WITH relation AS (
    SELECT * FROM pg_class WHERE relnamespace = current_schema()::regnamespace AND relname ~ %(ours)s
), found (name, definition) AS (
    SELECT 'table ' || relname, concat_ws(' ', relkind, relpersistence, relrowsecurity)
    FROM relation WHERE relkind NOT IN ('i', 'S')
    UNION ALL
    SELECT format('column %%s.%%s', relname, attname),
        concat_ws(
            ' ', format_type(atttypid, atttypmod), 'COLLATE ' || nullif(collname, 'default'),
            CASE WHEN attnotnull THEN 'NOT NULL' END, 'DEFAULT ' || pg_get_expr(adbin, adrelid),
            'IDENTITY ' || nullif(attidentity::text, ''), 'GENERATED ' || nullif(attgenerated::text, '')
        )
    FROM relation JOIN pg_attribute ON attrelid = relation.oid
    LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
    LEFT JOIN pg_collation ON pg_collation.oid = attcollation
    WHERE relkind NOT IN ('i', 'S') AND attnum > 0 AND NOT attisdropped
    UNION ALL
    SELECT format('constraint %%s on %%s', conname, relname), pg_get_constraintdef(pg_constraint.oid)
    FROM relation JOIN pg_constraint ON conrelid = relation.oid WHERE contype NOT IN ('n', 't')
    UNION ALL
    SELECT format('index %%s on %%s', indexrelid::regclass, relname),
        concat_ws(' ', pg_get_indexdef(indexrelid), CASE WHEN NOT indisvalid THEN 'INVALID' END)
    FROM relation JOIN pg_index ON indrelid = relation.oid
    UNION ALL
    SELECT 'sequence ' || relname,
        concat_ws(' ', format_type(seqtypid, NULL), seqstart, seqincrement, seqmin, seqmax, seqcache, seqcycle)
    FROM relation JOIN pg_sequence ON seqrelid = relation.oid
    UNION ALL
    SELECT format('trigger %%s on %%s', tgname, relname), concat_ws(' ', pg_get_triggerdef(pg_trigger.oid), tgenabled)
    FROM relation JOIN pg_trigger ON tgrelid = relation.oid WHERE NOT tgisinternal
    UNION ALL
    SELECT format('function %%s(%%s)', proname, pg_get_function_identity_arguments(oid)), pg_get_functiondef(oid)
    FROM pg_proc WHERE pronamespace = current_schema()::regnamespace AND proname ~ %(ours)s AND prokind IN ('f', 'p')
)
SELECT name, replace(definition, quote_ident(current_schema()) || '.', '') FROM found
"""


class TablesDiffer(Exception):
    """The tables are not those that the migrations create. The text names each difference."""


def old_migrations(connection: BaseDatabaseWrapper) -> set[Migration]:
    """Return the replaced migrations that the database records as applied."""
    return set(MigrationRecorder(connection).applied_migrations()) & (pairs(OLD) - pairs(NEW))


def refusal(connection: BaseDatabaseWrapper) -> str:
    """Return one line with what to do about a database of the old migrations, or "" for any other database."""
    if not old_migrations(connection):
        return ""
    is_embedded = settings.DATABASES[connection.alias]["ENGINE"] == devdb.ENGINE
    fresh = "delete everything with `manage.py devdb reset`" if is_embedded else "use an empty database"
    return (
        "This database was migrated before the first release, by migrations that were replaced since. "
        f"Keep its data with `manage.py adopt_migrations`, or {fresh}."
    )


def adopt(connection: BaseDatabaseWrapper) -> int:
    """Record the present migrations instead of the old ones, and return the number of old records.

    A database without old records is not changed.

    :raises TablesDiffer: the tables differ. Nothing was changed
    """
    with transaction.atomic(using=connection.alias):
        if not old_migrations(connection):
            return 0
        if found := differences(connection):
            raise TablesDiffer("\n".join(found))
        recorder = MigrationRecorder(connection)
        replaced = 0
        for app, names in OLD.items():
            replaced += recorder.migration_qs.filter(app=app, name__in=names).delete()[0]
        for app, name in sorted(pairs(NEW)):
            recorder.record_applied(app, name)
        return replaced


def differences(connection: BaseDatabaseWrapper) -> list[str]:
    """Compare our tables, indexes, constraints and triggers with newly created ones. Return one line a difference."""
    found = catalog(connection)
    with fresh_schema(connection, SCRATCH):
        expected = catalog(connection)
    return [
        *(f"missing: {name}" for name in sorted(expected.keys() - found.keys())),
        *(f"unexpected: {name}" for name in sorted(found.keys() - expected.keys())),
        *(
            " ".join(f"different: {name}: {found[name]}; expected: {expected[name]}".split())
            for name in sorted(found.keys() & expected.keys())
            if found[name] != expected[name]
        ),
    ]


@contextmanager
def fresh_schema(connection: BaseDatabaseWrapper, name: str) -> Iterator[None]:
    """Run the present migrations in a new schema, make it the current schema, and roll it back at the end."""
    with transaction.atomic(using=connection.alias):
        with connection.cursor() as cursor:
            cursor.execute(f"CREATE SCHEMA {name}")
            cursor.execute(f"SET LOCAL search_path TO {name}")
        MigrationExecutor(connection).migrate([(app, names[-1]) for app, names in NEW.items()])
        yield
        transaction.set_rollback(True, using=connection.alias)


def catalog(connection: BaseDatabaseWrapper) -> dict[str, str]:
    """Return the definitions of our apps' objects in the current schema, by kind and name."""
    with connection.cursor() as cursor:
        cursor.execute(CATALOG, {"ours": f"^({'|'.join(NEW)})_"})
        return dict(cursor.fetchall())


def pairs(names: dict[str, list[str]]) -> set[Migration]:
    """Return (app, name) of each migration."""
    return {(app, name) for app in names for name in names[app]}
