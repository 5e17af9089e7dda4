"""Query plans: frequent requests use indexes, and read no whole table."""

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.models import OneTimeCode
from accounts.services import one_time_codes
from accounts.tests.factories import PASSWORD, UserFactory
from accounts.tests.worker import look_up
from api.business_days import business_day
from api.tests.clients import browser, logged_in_as
from config.desk.dashboard import takings
from payments.tests.bodies import c2b_body, stk_body
from payments.tests.factories import make_push
from subscriptions.models import Subscription
from subscriptions.statuses import Status
from subscriptions.tests.factories import PlanFactory, granted, pending

pytestmark = [pytest.mark.django_db, pytest.mark.server]

# Small tables: a club has some tens of plans, few freezes at a time, and codes are deleted after a day.
SMALL = (
    "subscriptions_plan ",
    "subscriptions_plangroup ",
    "subscriptions_closure ",
    "subscriptions_freeze ",
    "accounts_onetimecode ",
)


def sequential_scans(captured) -> list[str]:
    """Return the lines of the query plans with a sequential scan of a large table, where an index could be used."""
    lines = []
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off; SET LOCAL enable_indexscan = off")
        for sql in [
            query["sql"] for query in captured if query["sql"].startswith(("SELECT", "UPDATE", "WITH", "INSERT"))
        ]:
            cursor.execute(f"EXPLAIN {sql}")
            lines += [f"{line.strip()} in {sql}" for (line,) in cursor.fetchall() if "Seq Scan" in line]
    return [line for line in lines if not any(f"on {table}" in line for table in SMALL)]


def test_callback_of_a_push_uses_indexes(client):
    now = timezone.now()
    push = make_push(pending(PlanFactory(), now=now).payment, sent_at=now)

    with CaptureQueriesContext(connection) as captured:
        body = stk_body(push, moved_at=now)
        answer = client.post(f"/api/v1/callbacks/stk/{push.raw_token}/", body, content_type="application/json")

    assert answer.status_code == 200
    assert sequential_scans(captured) == []


def test_paybill_confirmation_uses_indexes(client, settings):
    payment = pending(PlanFactory(), now=timezone.now()).payment

    with CaptureQueriesContext(connection) as captured:
        body = c2b_body(account=payment.reference, amount=payment.amount_due, moved_at=timezone.now())
        path = f"/api/v1/callbacks/c2b/{settings.C2B_SECRET}/confirmation/"
        answer = client.post(path, body, content_type="application/json")

    assert answer.status_code == 200
    payment.refresh_from_db()
    assert payment.status == "paid"
    assert sequential_scans(captured) == []


def test_purchase_uses_indexes():
    desk, member = logged_in_as(UserFactory(role="Receptionist")), UserFactory()
    plan = PlanFactory()

    with CaptureQueriesContext(connection) as captured:
        bought = {"plan": plan.code, "member": member.pk}
        answer = desk.post("/api/v1/subscriptions/", bought, headers={"Idempotency-Key": "a-purchase-by-key"})
        again = desk.post("/api/v1/subscriptions/", bought, headers={"Idempotency-Key": "a-purchase-by-key"})

    assert (answer.status_code, again.status_code) == (202, 200)
    assert sequential_scans(captured) == []


@pytest.mark.parametrize("field", ["username", "email", "phone_number"])
def test_login_uses_indexes(field):
    person = UserFactory()

    with CaptureQueriesContext(connection) as captured:
        answer = browser().post(
            "/api/v1/auth/login/", {"identifier": getattr(person, field), "password": PASSWORD, "remember": True}
        )

    assert answer.status_code == 200
    assert sequential_scans(captured) == []


@pytest.mark.parametrize("contact", [{"email": "asha@example.com"}, {"phone_number": "0711111111"}], ids=str)
def test_registration_uses_indexes(contact):
    someone = {"first_name": "Asha", "last_name": "Otieno", "password": PASSWORD, "consent": True}

    with CaptureQueriesContext(connection) as captured:
        registered = browser().post("/api/v1/auth/register/", {**someone, **contact})
        look_up()
        OneTimeCode.objects.update(code_hash=one_time_codes.hash_of("123456"))
        proof = {"identifier": next(iter(contact.values())), "password": PASSWORD, "code": "123456"}
        verified = browser().post("/api/v1/auth/verify/", proof)

    assert (registered.status_code, verified.status_code) == (202, 200)
    assert sequential_scans([query for query in captured if "code_hash" not in query["sql"]]) == []


def test_check_in_uses_indexes():
    member = granted(on=business_day(timezone.now())).member
    desk = logged_in_as(UserFactory(role="Receptionist"))

    with CaptureQueriesContext(connection) as captured:
        answer = desk.post("/api/v1/checkins/", {"member_number": member.member_number})

    assert answer.json()["data"]["decision"] == "allow"
    assert sequential_scans(captured) == []


@pytest.mark.parametrize("status", Status.values)
def test_filter_by_status_uses_an_index(status):
    today = business_day(timezone.now())
    found = Subscription.objects.with_status(today).having_status(status, today).order_by().values("pk")

    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")

    assert "Seq Scan on subscriptions_subscription" not in found.explain()
    assert "THEN scheduled" not in str(found.query)


def test_takings_use_an_index_only_scan():
    now = timezone.now()

    with CaptureQueriesContext(connection) as captured:
        list(takings(now))
    with connection.cursor() as cursor:
        # On an empty table all indexes have the same cost.
        cursor.execute("DROP INDEX receipt_newest_first; DROP INDEX receipt_by_member")
        cursor.execute("SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off")
        cursor.execute(f"EXPLAIN {captured[0]['sql']}")
        plan = " ".join(line for (line,) in cursor.fetchall())

    assert len(captured) == 2  # receipts and refunds
    assert "Index Only Scan using receipt_live_sums" in plan
