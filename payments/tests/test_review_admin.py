"""The admin page of a review item, and its actions."""

from datetime import timedelta

import pytest
from django.contrib.messages import get_messages
from django.test import Client

from payments.daraja.messages import C2bMessage
from payments.desk import review_decisions
from payments.evidence import c2b_confirmations
from payments.models import Refund, ReviewItem, ReviewReason
from payments.services import review_items
from payments.tests.factories import NOON, MemberFactory, create_payment

pytestmark = pytest.mark.django_db


@pytest.fixture
def manager(client):
    manager = MemberFactory(role="Manager", is_staff=True)
    client.force_login(manager)
    return manager


@pytest.fixture
def member():
    return MemberFactory(first_name="Wanjiru", phone_number="254712345678")


@pytest.fixture
def item(member):
    """The item of KES 1,500 without an owner. The masked phone number of the sender suggests the member."""
    message = C2bMessage("TKN1AB2C3D", NOON, 1500, "174379", "gym", "25471****678", "JANE", "Pay Bill", "")
    c2b_confirmations.apply_c2b(message=message, now=NOON)
    return ReviewItem.objects.get()


def page_of(item, name="change"):
    return f"/admin/payments/reviewitem/{item.pk}/{name}/"


def do(client, item, name, **typed):
    """Send the form of an action; return the messages of the next page."""
    answer = client.post(page_of(item, name), typed, secure=True)

    assert (answer.status_code, answer.url) == (302, page_of(item))
    item.refresh_from_db()
    return [(message.level_tag, message.message) for message in get_messages(answer.wsgi_request)]


def names_of(answer):
    return [form.name for form in answer.context["actions"]]


def test_open_item_shows_its_money_possible_owners_and_actions(client, manager, member, item):
    payment = create_payment(member, amount=2000)

    answer = client.get(page_of(item), secure=True)

    content = answer.content.decode()
    assert names_of(answer) == ["assign", "sent_back", "dismiss"]
    (suggestion,) = answer.context["suggestions"]
    assert (suggestion.member, suggestion.payments) == (member, [payment])
    assert suggestion.reasons == ["the sender's phone number matches theirs"]
    for shown in (
        item.detail,
        "KES 1,500 TKN1AB2C3D",
        "from JANE",
        "to “gym”",
        member.member_number,
        payment.reference,
        "owes KES 2,000",
    ):
        assert shown in content


@pytest.mark.parametrize("typed", ["{payment.reference}", " {payment.reference} ", "{member.member_number}"])
def test_manager_assigns_money_to_a_payment_or_a_member(client, manager, member, item, typed):
    payment = create_payment(member, amount=1500)

    told = do(client, item, "assign", owner=typed.format(payment=payment, member=member).lower())

    payment.refresh_from_db()
    assert told == [("success", "The money is assigned to its owner.")]
    assert (item.status, item.resolved_by, payment.status) == ("resolved", manager, "paid")


@pytest.mark.parametrize(
    ("typed", "said"),
    [("K0000000", "No payment has this reference, and no member this number."), ("", "This field is required.")],
)
def test_unknown_owner_is_refused(client, manager, item, typed, said):
    assert do(client, item, "assign", owner=typed) == [("error", said)]
    assert item.status == "open"


def test_manager_undoes_an_assignment(client, manager, member, item):
    payment = create_payment(member, amount=1500)
    review_decisions.assign_money(item_id=item.pk, by_id=manager.pk, now=NOON, payment_id=payment.pk)

    assert names_of(client.get(page_of(item), secure=True)) == ["undo"]
    told = do(client, item, "undo")

    payment.refresh_from_db()
    assert told == [("success", "The assignment is undone, and the item is open again.")]
    assert (item.status, payment.amount_paid) == ("open", 0)


def test_manager_dismisses_an_item_with_a_reason(client, manager, item):
    told = do(client, item, "dismiss", reason="Rent of the café, not a member.")

    assert told == [("success", "The item is dismissed.")]
    assert (item.status, item.resolution, item.resolved_by) == ("dismissed", "Rent of the café, not a member.", manager)
    assert names_of(client.get(page_of(item), secure=True)) == ["assign", "sent_back"]


def test_money_of_a_dismissed_item_can_still_be_assigned(client, manager, member, item):
    payment = create_payment(member, amount=1500)
    review_decisions.dismiss_item(item_id=item.pk, reason="Nobody asks.", by_id=MemberFactory().pk, now=NOON)

    told = do(client, item, "assign", owner=payment.reference)

    payment.refresh_from_db()
    assert told == [("success", "The money is assigned to its owner.")]
    assert (payment.status, item.status, item.resolved_by) == ("paid", "resolved", manager)
    assert names_of(client.get(page_of(item), secure=True)) == ["undo"]


def test_money_of_a_dismissed_item_can_still_be_returned(client, manager, item):
    review_decisions.dismiss_item(item_id=item.pk, reason="Nobody asks.", by_id=MemberFactory().pk, now=NOON)

    do(client, item, "sent_back", paid_from="mpesa", reason="Meant for another club.")

    assert (item.status, item.resolution, item.resolved_by) == ("resolved", "It was refunded.", manager)


@pytest.mark.parametrize("reason", ["", "   "])
def test_dismissal_without_a_reason_is_refused(client, manager, item, reason):
    assert do(client, item, "dismiss", reason=reason) == [("error", "This field is required.")]
    assert item.status == "open"


@pytest.mark.parametrize(
    ("name", "typed", "said"),
    [
        ("assign", {"owner": "{member.member_number}"}, "This item has no money that needs an owner."),
        ("dismiss", {"reason": "Not ours."}, "This item has already been decided."),
    ],
)
def test_second_decision_about_an_item_is_refused(client, manager, member, item, name, typed, said):
    first = MemberFactory()
    review_decisions.assign_money(item_id=item.pk, by_id=first.pk, now=NOON, member_id=member.pk)

    told = do(client, item, name, **{field: text.format(member=member) for field, text in typed.items()})

    assert told == [("error", said)]
    assert (item.status, item.resolved_by) == ("resolved", first)


def test_manager_records_that_money_was_returned(client, manager, item):
    told = do(client, item, "sent_back", paid_from="mpesa", reason="Meant for another club.")

    refund = Refund.objects.get()
    assert told == [("success", "The refund is recorded, and the item is resolved.")]
    assert (refund.receipt, refund.amount, refund.made_by) == (item.receipt, 1500, manager)
    assert (item.status, item.resolved_by) == ("resolved", manager)
    assert names_of(client.get(page_of(item), secure=True)) == []


def test_assigned_money_cannot_be_returned_to_its_sender(client, manager, member, item):
    payment = create_payment(member, amount=1500)
    review_decisions.assign_money(item_id=item.pk, by_id=manager.pk, now=NOON, member_id=member.pk)

    told = do(client, item, "sent_back", paid_from="mpesa", reason="x")

    payment.refresh_from_db()
    assert told == [("error", "This item has no money that needs an owner.")]
    assert (payment.status, Refund.objects.count()) == ("paid", 0)


def test_item_links_to_the_next_open_item(client, manager, item):
    older, newer = (
        review_items.open_item(reason=ReviewReason.UNREADABLE, detail=detail, now=NOON + timedelta(hours=hours))
        for detail, hours in (("older", -1), ("newer", 1))
    )

    nexts = [client.get(page_of(each), secure=True).context["next_item"] for each in (newer, item, older)]

    assert nexts == [item, older, newer]


def test_undo_without_an_assignment_is_refused(client, manager, item):
    assert do(client, item, "undo") == [("error", "This item has no assignment to undo.")]


@pytest.mark.parametrize("name", ["assign", "undo", "sent_back", "dismiss"])
def test_action_on_an_unknown_item_is_refused(client, manager, item, name):
    answer = client.post(
        f"/admin/payments/reviewitem/{item.pk + 1}/{name}/",
        {"owner": "x", "reason": "x", "paid_from": "mpesa"},
        secure=True,
    )

    assert answer.status_code == 302


@pytest.mark.parametrize("name", ["assign", "undo", "sent_back", "dismiss"])
@pytest.mark.parametrize("role", ["Member", "Trainer", "Receptionist"])
def test_roles_below_manager_cannot_act_even_as_superuser(client, item, role, name):
    client.force_login(MemberFactory(role=role, is_staff=True, is_superuser=True))

    answer = client.post(page_of(item, name), {"reason": "x"}, secure=True)

    item.refresh_from_db()
    assert (answer.status_code, item.status) == (403, "open")


@pytest.mark.parametrize("name", ["assign", "undo", "sent_back", "dismiss"])
def test_get_request_performs_no_action(client, manager, item, name):
    assert client.get(page_of(item, name), secure=True).status_code == 405


def test_action_needs_the_csrf_token(item):
    client = Client(enforce_csrf_checks=True)
    client.force_login(MemberFactory(role="Manager", is_staff=True))

    assert client.post(page_of(item, "dismiss"), {"reason": "x"}, secure=True).status_code == 403
