"""Lists of the admin cost the same number of queries for any number of rows."""

from datetime import date, timedelta

import pytest
from django.contrib.admin.sites import site
from django.db import connection
from django.test.utils import CaptureQueriesContext
from procrastinate.contrib.django import app

from accounts.models import LoginSession, SecurityEvent
from accounts.tests.factories import UserFactory
from api import changes
from api.admin.base import BoundedPaginator
from api.models import Export
from payments import models
from payments.tests.factories import NOON, make_push
from subscriptions.models import Closure, Freeze, Visit
from subscriptions.tests.factories import PlanFactory, PlanGroupFactory, granted

pytestmark = pytest.mark.django_db

# Every list: login session, user, second factor, count, page. Some lists also read the choices of a filter from another
# table, or the events of jobs.
EVERY = 5
QUERIES = {
    "subscriptions.plan": EVERY + 1,
    "subscriptions.subscription": EVERY + 2,
    "procrastinate.procrastinatejob": EVERY + 1,
}


def one_of_everything(n: int) -> None:
    """Create a row for every page of the admin, with related rows of its own."""
    person = UserFactory()
    LoginSession.objects.create(
        user=person, created_at=NOON, idle_expires_at=NOON, absolute_expires_at=NOON, auth_time=NOON
    )
    SecurityEvent.objects.create(user=person, actor=UserFactory(), event="login", at=NOON)
    subscription = granted(PlanFactory(group=PlanGroupFactory(name=f"Group {n}")))
    payment, receipt = subscription.payment, models.Receipt.objects.latest("pk")
    days = {"starts_on": date(2026, 12, 2 * n), "ends_on": date(2026, 12, 2 * n + 1), "created_at": NOON}
    Freeze.objects.create(subscription=subscription, requested_by=UserFactory(), **days)
    Closure.objects.create(reason="Holiday", made_by=UserFactory(), **days)
    Visit.objects.create(member=UserFactory(), at=NOON, decision="allow", reason="active")
    push = make_push()
    models.Callback.objects.create(source="stk", push=push, body=b"{}", received_at=NOON)
    models.ReviewItem.objects.create(
        reason="unmatched", receipt=receipt, payment=payment, created_at=NOON, resolved_by=UserFactory()
    )
    models.CashSession.objects.create(cashier=UserFactory(), opened_at=NOON)
    models.VoidRequest.objects.create(receipt=receipt, reason="typed twice", asked_by=UserFactory(), asked_at=NOON)
    models.CodeClaim.objects.create(code=f"CLAIM{n}", payment=payment, claimed_by=UserFactory(), claimed_at=NOON)
    models.CodeCheck.objects.create(code=f"CHECK{n}", asked_by=UserFactory(), receipt=receipt, created_at=NOON)
    models.Refund.objects.create(
        receipt=receipt, amount=1, paid_from="mpesa", reason="asked", made_by=UserFactory(), made_at=NOON
    )
    Export.objects.create(
        asked_by=UserFactory(), asked_at=NOON, page="payments.payment", file_format="csv", state="failed"
    )
    changes.record_addition(subscription.plan, by_id=person.pk, now=NOON)
    app.configure_task("nothing").defer(number=n)


@pytest.fixture
def rows():
    for n in (1, 2):
        one_of_everything(n)


@pytest.fixture
def as_owner(client):
    client.force_login(UserFactory(role="Admin", is_staff=True))
    return client


def queries_of(client, address):
    """Return the queries of the page, after the content types are cached."""
    client.get(address, secure=True)
    with CaptureQueriesContext(
        connection,
    ) as captured:
        assert client.get(address, secure=True).status_code == 200
    return [query["sql"] for query in captured]


@pytest.mark.parametrize("label", sorted(model._meta.label_lower for model in site._registry))
@pytest.mark.breaks_the_books
def test_list_costs_the_same_queries_for_any_rows(as_owner, rows, label):
    address = f"/admin/{label.replace('.', '/')}/"

    queries = queries_of(as_owner, address)

    assert as_owner.get(address, secure=True).context["cl"].result_count >= 2
    assert len(queries) == QUERIES.get(label, EVERY), "\n".join(queries)
    assert not [sql for sql in queries if "COUNT(*)" in sql and "LIMIT" not in sql]


@pytest.mark.parametrize("label", ["payments.payment", "payments.receipt"])
@pytest.mark.breaks_the_books
def test_page_with_inlines_costs_the_same_for_three_rows(as_owner, rows, label):
    payment = models.Payment.objects.filter(status="paid").latest("pk")
    receipt = payment.allocations.get().receipt
    address = f"/admin/{label.replace('.', '/')}/{(payment if label == 'payments.payment' else receipt).pk}/change/"
    before = len(queries_of(as_owner, address))

    for each in (UserFactory(), UserFactory()):
        models.PaymentEvent.objects.create(payment=payment, to_status="paid", by=each, at=NOON)
        models.Allocation.objects.create(
            receipt=receipt, payment=payment, amount=1, rule="by_hand", made_by=each, created_at=NOON, undone_at=NOON
        )

    assert len(queries_of(as_owner, address)) == before


@pytest.mark.breaks_the_books
def test_list_pages_are_counted_up_to_a_limit(as_owner, rows, monkeypatch):
    monkeypatch.setattr(BoundedPaginator, "max_rows", 2)
    UserFactory()

    page = as_owner.get("/admin/accounts/customuser/", secure=True)

    assert page.context["cl"].result_count == 2
    assert "or more. Search or filter to find the other rows." in page.content.decode()


@pytest.mark.parametrize(
    ("address", "typed"),
    [
        ("payments/payment/", "{payment.reference}"),
        ("payments/payment/", " {payment.payer.member_number} "),
        ("payments/receipt/", "{payment.payer.member_number}"),
        ("subscriptions/subscription/", "{payment.reference}"),
    ],
)
@pytest.mark.breaks_the_books
def test_search_compares_whole_values(as_owner, rows, address, typed):
    payment = models.Payment.objects.filter(status="paid").latest("pk")

    page = as_owner.get(f"/admin/{address}", {"q": typed.format(payment=payment).lower()}, secure=True)

    assert page.context["cl"].result_count == 1


@pytest.mark.parametrize("typed", ["wanj", "KAMAU", "Wanjiru Kam", "wanjiru@example.com", "WK01"])
def test_people_are_found_by_the_beginning_of_their_names(as_owner, typed):
    UserFactory()
    UserFactory(first_name="Wanjiru", last_name="Kamau", email="Wanjiru@Example.com", username="WK01")

    page = as_owner.get("/admin/accounts/customuser/", {"q": typed}, secure=True)

    assert [person.username for person in page.context["cl"].result_list] == ["WK01"]


def test_visits_are_listed_in_time_order(client):
    client.force_login(UserFactory(role="Manager", is_staff=True))
    at = [NOON, NOON - timedelta(days=1), NOON + timedelta(days=1), NOON]
    rows = [Visit.objects.create(member=UserFactory(), at=each, decision="allow", reason="active").pk for each in at]

    page = client.get("/admin/subscriptions/visit/", secure=True).context["cl"]

    assert [visit.pk for visit in page.result_list] == [rows[2], rows[3], rows[0], rows[1]]
