"""The search of the front desk: one result is opened, several are listed, and no table is read whole."""

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from accounts.tests.factories import UserFactory
from payments.models import Channel, Receipt
from payments.tests.factories import NOON, MemberFactory, create_payment

pytestmark = [pytest.mark.django_db, pytest.mark.server]


@pytest.fixture
def as_desk(client):
    client.force_login(UserFactory(role="Receptionist", is_staff=True))
    return client


@pytest.fixture
def member():
    return MemberFactory(first_name="Wanjiru", last_name="Kamau", phone_number="254712345678")


def find(client, typed):
    """Search; return the URL of the only result, or the list of results."""
    answer = client.post("/admin/find/", {"q": typed}, secure=True)
    return answer.url if answer.status_code == 302 else list(answer.context["found"].items())


def page_of(member):
    return f"/admin/members/{member.pk}/"


def receipt_of(member=None, **fields):
    return Receipt.objects.create(
        channel=Channel.MPESA_C2B, amount=5, paid_at=NOON, created_at=NOON, member=member, **fields
    )


@pytest.mark.parametrize(
    "typed", ["wanj", "Wanjiru  Kam", "KAMAU", "0712 345 678", "+254712345678", "{member.member_number}", "nj-1"]
)
def test_only_match_is_opened(as_desk, member, typed):
    member.username = "NJ-1"
    member.save()
    MemberFactory(first_name="Otieno")

    assert find(as_desk, typed.format(member=member)) == page_of(member)


@pytest.mark.parametrize("typed", ["5678", "345 678", "712345678"])
def test_last_digits_of_a_phone_number_find_its_member(as_desk, member, typed):
    MemberFactory(phone_number="254756785679")

    assert find(as_desk, typed) == page_of(member)


@pytest.mark.parametrize("typed", ["678", "1234", "7123"])
def test_too_few_or_middle_digits_find_nobody(as_desk, member, typed):
    assert find(as_desk, typed) == []


def test_several_matches_are_listed_with_their_numbers(as_desk, member):
    other = MemberFactory(first_name="Wanjala")

    assert find(as_desk, "wanj") == [
        (page_of(other), f"Wanjala, member number {other.member_number}"),
        (page_of(member), f"Wanjiru Kamau, member number {member.member_number}"),
    ]


def test_payment_is_found_by_its_reference_in_any_spelling(as_desk, member):
    payment = create_payment(member)

    spaced = f" {payment.reference[:4].lower()} {payment.reference[4:]}"

    assert find(as_desk, spaced) == f"/admin/payments/payment/{payment.pk}/change/"


@pytest.mark.parametrize("typed", ["TKN1AB2C3D", "tkn1 ab2c 3d", "2026-000017"])
@pytest.mark.breaks_the_books
def test_code_and_receipt_number_lead_to_the_owner(as_desk, member, typed):
    receipt_of(member, code="TKN1AB2C3D", number="2026-000017")

    assert find(as_desk, typed) == page_of(member)


@pytest.mark.breaks_the_books
def test_text_without_a_code_does_not_match_receipts_without_one(as_desk, member):
    receipt_of(member, number="2026-000017")
    receipt_of(UserFactory(), number="2026-000018")

    assert find(as_desk, "2026-000017") == page_of(member)


@pytest.mark.breaks_the_books
def test_code_of_unmatched_money_leads_to_its_receipt(as_desk):
    receipt = receipt_of(code="TKN1AB2C3D")

    assert find(as_desk, "TKN1AB2C3D") == f"/admin/payments/receipt/{receipt.pk}/change/"


@pytest.mark.parametrize("typed", ["nobody", "0799999999", "%", "é" * 200, "'; --"])
def test_no_match_is_said(as_desk, member, typed):
    answer = as_desk.post("/admin/find/", {"q": typed}, secure=True)

    assert answer.status_code == 200
    assert "Nothing was found for" in answer.content.decode()


@pytest.mark.parametrize("typed", ["", "   "])
def test_empty_search_finds_nothing(as_desk, member, typed):
    assert find(as_desk, typed) == []


def test_trainer_finds_by_name_but_not_by_phone(client, member):
    client.force_login(UserFactory(role="Trainer", is_staff=True))

    assert find(client, "wanjiru") == page_of(member)
    assert find(client, "0712345678") == []
    assert find(client, "5678") == []


def test_search_needs_a_staff_role(client, member):
    logged_out = client.post("/admin/find/", {"q": "wanj"}, secure=True)  # the page that keeps the input of a form
    assert (logged_out.status_code, "Wanjiru" in logged_out.content.decode()) == (403, False)

    client.force_login(UserFactory(role="Member", is_staff=True))

    assert client.post("/admin/find/", {"q": "wanj"}, secure=True).status_code == 403


def test_search_text_is_in_no_url(as_desk, member):
    assert 'method="post" action="/admin/find/"' in as_desk.get("/admin/", secure=True).content.decode()
    assert as_desk.get("/admin/find/", {"q": "wanjiru"}, secure=True).context["found"] == {}


@pytest.mark.parametrize("typed", ["wanj", "Wanjiru Kam", "0712345678", "5678", "TKN1AB2C3D", "wanjiru@example.com"])
def test_every_search_condition_uses_an_index(as_desk, member, typed):
    with CaptureQueriesContext(connection) as captured:
        find(as_desk, typed)
    searches = [
        query["sql"]
        for query in captured
        if query["sql"].startswith("SELECT") and "LIMIT 21" not in query["sql"] and '"session_key"' not in query["sql"]
    ]

    assert len(searches) >= 3
    with connection.cursor() as cursor:
        # The planner may use indexes only. A condition without an index would still read the whole table.
        cursor.execute("SET LOCAL enable_seqscan = off; SET LOCAL enable_indexscan = off")
        for sql in searches:
            cursor.execute(f"EXPLAIN {sql}")
            plan = "\n".join(line for (line,) in cursor.fetchall())
            assert "Seq Scan" not in plan, plan
            assert "Bitmap Index Scan" in plan, plan


def test_search_costs_the_same_queries_for_any_number_of_rows(as_desk, member):
    find(as_desk, "wanj")
    with CaptureQueriesContext(connection) as before:
        find(as_desk, "wanj")
    for _ in range(3):
        create_payment(MemberFactory(first_name="Wanja"))

    with CaptureQueriesContext(connection) as after:
        assert len(find(as_desk, "wanj")) == 4

    assert len(before) == len(after) == 6
