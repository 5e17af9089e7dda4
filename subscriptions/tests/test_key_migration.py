"""The migration that moves the idempotency keys of four tables to one."""

from datetime import timedelta

import pytest
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

from api.models import IdempotencyRecord
from subscriptions.tests.factories import NOON, MemberFactory, PlanFactory

# The rows have no ledger entries.
pytestmark = [pytest.mark.django_db, pytest.mark.server, pytest.mark.breaks_the_books]

LATER = NOON + timedelta(days=1)
BEFORE = [
    ("api", "0002_protect_exports"),
    ("payments", "0006_add_the_receipt_invoice_typed"),
    ("subscriptions", "0003_remember_the_headings_of_member_lists"),
]


def migrate(targets):
    """Migrate in the transaction of the test, which is rolled back; return the models of that moment."""
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")  # a table with deferred checks cannot be altered
    executor = MigrationExecutor(connection)
    return executor.migrate(targets).apps


def test_keys_of_all_tables_move_to_one():
    asha, ben, cashier = MemberFactory.create_batch(3)
    plans = PlanFactory.create_batch(4)
    newest = MigrationExecutor(connection).loader.graph.leaf_nodes()
    apps = migrate(BEFORE)
    number = iter(range(100))

    def pay_for(plan, **fields):
        payment = apps.get_model("payments", "Payment").objects.create(
            reference=f"P{next(number)}", payer_id=asha.pk, amount_due=1500, deposit=1500, expires_at=NOON, **fields
        )
        period = apps.get_model("subscriptions", "Subscription").objects.create(
            member_id=asha.pk,
            plan_id=plan.pk,
            group_id=plan.group_id,
            payment=payment,
            price=1500,
            interval="months",
            interval_count=1,
            grace_days=0,
            late_renewal="from_payment",
            max_freeze_days=0,
            max_freezes=0,
            origin="bought",
            fact="pending",
            created_by_id=asha.pk,
            created_at=NOON,
        )
        return payment, period.pk

    def take(code, **fields):
        return apps.get_model("payments", "Receipt").objects.create(
            channel="mpesa_c2b", code=code, amount=500, paid_at=NOON, created_at=LATER, **fields
        )

    head, one = pay_for(plans[0], created_by_id=asha.pk, created_at=NOON, idempotency_key="buy", body_fingerprint="1")
    _, two = pay_for(plans[1], created_by_id=asha.pk, created_at=NOON, head=head)
    _, gift = pay_for(plans[2], created_by_id=cashier.pk, created_at=NOON, idempotency_key="give", body_fingerprint="2")
    unkeyed, other = pay_for(plans[3], created_by_id=ben.pk, created_at=NOON)
    apps.get_model("subscriptions", "KeptKey").objects.create(
        made_by_id=ben.pk, idempotency_key="again", body_fingerprint="3", payment=unkeyed, created_at=NOON
    )
    taken = {"recorded_by_id": cashier.pk, "body_fingerprint": "4"}
    receipt = take("TKN0000001", idempotency_key="take", **taken)
    # The cashier used this key before, for the free period: its results stay.
    second = take("TKN0000002", idempotency_key="give", **taken)
    returned = [
        apps.get_model("payments", "Refund")
        .objects.create(
            receipt_id=receipt_id,
            amount=1,
            paid_from="mpesa",
            reason="ill",
            made_by_id=cashier.pk,
            made_at=NOON,
            idempotency_key=key,
            body_fingerprint="5",
        )
        .pk
        for receipt_id, key in ((receipt.pk, "return"), (second.pk, "return"), (receipt.pk, None))
    ]

    migrate(newest)

    stored = IdempotencyRecord.objects.values_list("caller", "key", "fingerprint", "results", "created_at")
    assert sorted(stored) == sorted(
        [
            (asha.pk, "buy", "1", [one, two], NOON),
            (cashier.pk, "give", "2", [gift], NOON),
            (ben.pk, "again", "3", [other], NOON),
            (cashier.pk, "take", "4", [receipt.pk], LATER),
            (cashier.pk, "return", "5", returned[:2], NOON),
        ]
    )
