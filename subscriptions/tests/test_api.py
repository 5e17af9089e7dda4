"""API of memberships: success, no login, subscriptions of others, invalid input."""

from datetime import timedelta

import pytest
from django.contrib.auth import get_user_model
from django.urls import reverse

from accounts.tests.factories import UserFactory
from api import clock
from api.business_days import business_day
from payments.models import Account, Payment
from payments.services import ledger
from payments.tests.factories import create_payment
from payments.tests.triggers import triggers_off
from subscriptions.models import Closure, Plan, Subscription
from subscriptions.services import freezes
from subscriptions.tests.factories import (
    MemberFactory,
    PlanFactory,
    PlanGroupFactory,
    granted,
    pay,
    pending,
    record_paybill_payment,
)

pytestmark = pytest.mark.django_db

LIST = "/api/v1/subscriptions/"


def url(subscription, act=""):
    return reverse("subscriptions:subscription-detail", args=[subscription.pk]) + act


def error(response):
    return (response.status_code, response.json()["error"]["code"])


def data(response):
    return response.json()["data"]


@pytest.fixture
def plan():
    return PlanFactory(code="monthly", name="Monthly", max_freezes=1, max_freeze_days=7)


@pytest.fixture
def today():
    return business_day(clock.now())


@pytest.fixture
def running(asha, plan, today):
    """A month that Asha paid for today."""
    return granted(plan, asha, today)


# --- The price list ---------------------------------------------------------------------------------------------------


def test_anyone_can_list_plans_on_sale(visitor, plan):
    PlanFactory(is_on_sale=False)

    response = visitor.get("/api/v1/plans/")

    assert data(response) == [
        {
            "id": plan.pk,
            "code": "monthly",
            "name": "Monthly",
            "group": {"id": plan.group_id, "name": "Gym access", "opens_gate": True},
            "price": 1500,
            "joining_fee": 0,
            "deposit_percent": 100,
            "interval": "months",
            "interval_count": 1,
            "grace_days": 0,
            "late_renewal": "from_payment",
            "visits": None,
            "max_freeze_days": 7,
            "max_freezes": 1,
            "stacking_limit": 12,
            "opens_at": None,
            "closes_at": None,
            "is_on_sale": True,
        }
    ]


def test_staff_also_see_plans_not_on_sale(as_trainer, as_asha):
    hidden = PlanFactory(is_on_sale=False)
    detail = reverse("subscriptions:plan-detail", args=[hidden.pk])

    assert [row["id"] for row in data(as_trainer.get("/api/v1/plans/"))] == [hidden.pk]
    assert as_trainer.get(detail).status_code == 200
    assert as_asha.get(detail).status_code == 404


def test_price_list_takes_a_constant_number_of_queries(visitor, django_assert_num_queries):
    PlanFactory.create_batch(3)

    with django_assert_num_queries(2):
        visitor.get("/api/v1/plans/")


def test_manager_creates_and_changes_plans(as_manager):
    group = PlanGroupFactory()
    fields = {"code": "week", "name": "Week", "group": group.pk, "price": 500, "interval": "weeks"}

    made = as_manager.post("/api/v1/plans/", fields)
    changed = as_manager.patch(made.headers["Location"], {"price": 600})

    assert (made.status_code, changed.status_code) == (201, 200)
    assert data(changed) == data(made) | {"price": 600}
    assert Plan.objects.get().price == 600


@pytest.mark.parametrize(
    "fields",
    [
        {"interval": "fortnights"},
        {"price": -1},
        {"price": 2**40},
        {"price": 10_000_001},
        {"joining_fee": 10_000_001},
        {"interval_count": 0},
        {"interval_count": 121},
        {"interval": "years", "interval_count": 11},
        {"opens_at": "06:00"},
        {"opens_at": "14:00", "closes_at": "06:00"},
        {"group": 0},
    ],
)
def test_invalid_plan_is_refused(as_manager, plan, fields):
    response = as_manager.patch(reverse("subscriptions:plan-detail", args=[plan.pk]), fields)

    assert error(response) == (400, "validation_error")


def test_price_list_change_needs_a_manager(as_receptionist, as_asha, visitor, plan):
    detail = reverse("subscriptions:plan-detail", args=[plan.pk])

    assert [client.patch(detail, {"price": 1}).status_code for client in (as_receptionist, as_asha)] == [403, 403]
    assert visitor.patch(detail, {"price": 1}).status_code == 401
    assert Plan.objects.get().price == 1500


def test_anyone_lists_plan_groups_and_managers_create_one(visitor, as_manager, as_asha):
    made = as_manager.post("/api/v1/plan-groups/", {"name": "Locker", "opens_gate": False})

    assert data(visitor.get("/api/v1/plan-groups/")) == [data(made)]
    assert as_asha.post("/api/v1/plan-groups/", {"name": "Pool"}).status_code == 403


# --- Purchases --------------------------------------------------------------------------------------------------------


def test_purchase_returns_the_subscription_and_its_payment(as_asha, asha, plan, pushes):
    response = as_asha.post(LIST, {"plan": "monthly"})

    bought = Subscription.objects.get()
    assert response.status_code == 202
    assert response.headers["Location"] == url(bought)
    assert data(response) == {
        "id": bought.pk,
        "member": {
            "id": asha.pk,
            "username": "asha",
            "first_name": "Asha",
            "last_name": "Otieno",
            "member_number": asha.member_number,
        },
        "plan": {
            "id": plan.pk,
            "code": "monthly",
            "name": "Monthly",
            "group": {"id": plan.group_id, "name": "Gym access", "opens_gate": True},
        },
        "status": "pending",
        "starts_on": None,
        "ends_on": None,
        "price": 1500,
        "joining_fee": 0,
        "value_carried": 0,
        "visits": None,
        "visits_used": 0,
        "grace_days": 0,
        "origin": "bought",
        "leaving_at": None,
        "next_plan": None,
        "replaces": None,
        "payment": data(response)["payment"]
        | {
            "reference": bought.payment.reference,
            "status": "pending",
            "amount_due": 1500,
            "amount_paid": 0,
            "amount_owed": 1500,
            "paid_at": None,
        },
        "freezes": [],
        "created_at": data(response)["created_at"],
    }
    assert pushes == [(bought.payment_id, "254712345678")]


def test_second_request_returns_200_and_the_first_purchase(as_asha, plan, pushes):
    first = as_asha.post(LIST, {"plan": "monthly", "phone_number": "0712 345 678"})
    second = as_asha.post(LIST, {"plan": "monthly", "phone_number": "0712 345 678"})

    assert (first.status_code, second.status_code) == (202, 200)
    assert data(first) == data(second)
    assert Payment.objects.count() == len(pushes) == 1


def test_push_and_payment_are_committed_together(as_asha, plan):
    response = as_asha.post(LIST, {"plan": "monthly", "phone_number": "0722000001"})

    payment = Payment.objects.get()
    assert data(response)["payment"]["status"] == payment.status == "processing"
    assert [(push.phone, push.amount, push.status) for push in payment.pushes.all()] == [
        ("254722000001", 1500, "created")
    ]


def test_same_key_with_another_body_is_a_conflict(as_asha, plan, pushes):
    headers = {"HTTP_IDEMPOTENCY_KEY": "one-click"}
    as_asha.post(LIST, {"plan": "monthly"}, **headers)
    again = as_asha.post(LIST, {"plan": "monthly"}, **headers)
    other = as_asha.post(LIST, {"plan": "monthly", "phone_number": None}, **headers)

    assert again.status_code == 200
    assert error(other) == (409, "idempotency_key_reused")


def test_renewal_and_upgrade_from_credit_happen_once_per_key(as_asha, asha, running, pushes):
    PlanFactory(code="gold", price=3000)
    record_paybill_payment(asha, 20_000, clock.now())

    for act, body in (("renew/", {}), ("upgrade/", {"plan": "gold"})):
        answers = [as_asha.post(url(running, act), body, HTTP_IDEMPOTENCY_KEY=act) for _ in range(2)]
        assert [answer.status_code for answer in answers] == [202, 200]
        assert data(answers[0])["id"] == data(answers[1])["id"]
    assert error(as_asha.post(url(running, "renew/"), {}, HTTP_IDEMPOTENCY_KEY="upgrade/")) == (
        409,
        "idempotency_key_reused",
    )


def test_payer_renews_for_another_from_their_own_credit(as_asha, asha, plan, today):
    child = MemberFactory()
    paid_by_asha = granted(plan, child, today, payment=create_payment(payer=asha))
    record_paybill_payment(asha, 1500, clock.now())
    record_paybill_payment(child, 1500, clock.now())

    renewed = as_asha.post(url(paid_by_asha, "renew/"), {"phone_number": None})

    assert data(renewed)["payment"]["status"] == "paid"
    assert [-ledger.balance(Account.MEMBER_CREDIT, member_id=each.pk) for each in (asha, child)] == [0, 1500]


@pytest.mark.parametrize("key", ["", "x" * 65, "a b", "é"])
def test_invalid_idempotency_key_is_refused(as_asha, plan, key):
    assert error(as_asha.post(LIST, {"plan": "monthly"}, HTTP_IDEMPOTENCY_KEY=key)) == (400, "invalid_idempotency_key")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"plan": "not a slug!"},
        {"plan": "monthly", "phone_number": "12"},
        {"plan": "monthly", "phone_number": "+1 202 555 0100"},
        {"plan": "monthly", "member": 0},
        {"plan": "monthly", "member": 2**70},
        {"plan": "monthly", "members": []},
        {"plan": "monthly", "members": [1, 1]},
        {"plan": "monthly", "member": 1, "members": [1]},
        {"plan": "mon\x00thly"},
        [],
        "monthly",
    ],
)
def test_invalid_purchase_is_refused(as_asha, plan, body):
    assert error(as_asha.post(LIST, body)) == (400, "validation_error")
    assert not Payment.objects.exists()


def test_amount_in_the_request_is_refused(as_asha, plan, pushes):
    response = as_asha.post(LIST, {"plan": "monthly", "price": 1, "amount_due": 1})

    assert (response.status_code, [row["field"] for row in response.json()["error"]["details"]]) == (
        400,
        ["price", "amount_due"],
    )
    assert not Subscription.objects.exists()


@pytest.mark.parametrize(
    ("plan_fields", "user_fields", "code"),
    [
        ({"is_on_sale": False}, {}, "plan_not_on_sale"),
        ({}, {"consented_at": None}, "consent_required"),
    ],
)
def test_refused_purchase_is_a_conflict_with_its_code(as_asha, asha, plan_fields, user_fields, code):
    PlanFactory(code="gym", **plan_fields)
    for name, value in user_fields.items():
        setattr(asha, name, value)
    asha.save()

    assert error(as_asha.post(LIST, {"plan": "gym"})) == (409, code)


def test_purchase_beyond_the_stacking_limit_is_a_conflict(as_asha, running):
    with triggers_off():
        Plan.objects.update(stacking_limit=0)

    assert error(as_asha.post(LIST, {"plan": "monthly"})) == (409, "stacking_limit")


def test_purchase_needs_a_login(visitor, plan):
    assert visitor.post(LIST, {"plan": "monthly"}).status_code == 401


def test_member_buys_only_for_people_they_added(as_asha, asha, plan, pushes):
    children = UserFactory.create_batch(2, added_by=asha, phone_number=None)
    stranger = UserFactory()

    bought = as_asha.post(LIST, {"plan": "monthly", "members": [child.pk for child in children]})
    refused = as_asha.post(LIST, {"plan": "monthly", "members": [children[0].pk, stranger.pk]})

    assert bought.status_code == 202
    assert [row["member"]["id"] for row in data(bought)] == [child.pk for child in children]
    assert pushes == [(Payment.objects.get(head=None).pk, asha.phone_number)]
    one = as_asha.post(LIST, {"plan": "monthly", "member": stranger.pk})
    for answer, field in ((refused, "members"), (one, "member")):
        message = f"There is no member with the ID {stranger.pk}."
        assert error(answer) == (404, "member_not_found")
        assert answer.json()["error"]["details"] == [{"field": field, "code": "member_not_found", "message": message}]


def test_purchase_says_that_the_plan_is_unknown(as_asha):
    answer = as_asha.post(LIST, {"plan": "none"})

    assert error(answer) == (404, "plan_not_found")
    assert answer.json()["error"]["details"] == [
        {"field": "plan", "code": "plan_not_found", "message": "There is no plan with this code."}
    ]


def test_payer_sees_and_changes_the_subscription_of_a_child(as_asha, asha, plan, pushes):
    child = UserFactory(added_by=asha, phone_number=None)
    bought = data(as_asha.post(LIST, {"plan": "monthly", "member": child.pk}))
    pay(Payment.objects.get(), at=clock.now())

    listed = data(as_asha.get(LIST))
    too_long = as_asha.post(f"{LIST}{bought['id']}/freeze/", {"ends_on": "2099-01-01"})
    left = as_asha.post(f"{LIST}{bought['id']}/cancel/")

    assert [row["id"] for row in listed] == [bought["id"]]
    assert error(too_long) == (409, "freeze_limit")
    assert data(left)["leaving_at"] is not None


def test_receptionist_buys_for_a_member_who_becomes_the_payer(as_receptionist, asha, plan, pushes):
    response = as_receptionist.post(LIST, {"plan": "monthly", "member": asha.pk})

    assert response.status_code == 202
    assert Payment.objects.get().payer == asha
    assert pushes == [(Payment.objects.get().pk, asha.phone_number)]


# --- Lists ------------------------------------------------------------------------------------------------------------


def test_members_see_their_own_and_staff_see_all(as_asha, as_trainer, visitor, running):
    other = granted()

    assert [row["id"] for row in data(as_asha.get(LIST))] == [running.pk]
    assert {row["id"] for row in data(as_trainer.get(LIST))} == {running.pk, other.pk}
    assert as_asha.get(url(running)).status_code == 200
    assert error(as_asha.get(url(other))) == (404, "not_found")
    assert visitor.get(LIST).status_code == visitor.get(url(running)).status_code == 401


def test_list_takes_a_constant_number_of_queries(as_asha, asha, plan, today, django_assert_num_queries):
    def ask():
        return data(as_asha.get(LIST, {"status": "scheduled"}))

    granted(plan, asha, today)
    for _ in range(3):
        last = granted(plan, asha, today)
    freezes.freeze(
        subscription_id=last.pk,
        starts_on=last.starts_on,
        ends_on=last.ends_on,
        kind="staff",
        by_id=asha.pk,
        now=clock.now(),
    )

    with django_assert_num_queries(4):  # session, count, rows, freezes
        rows = ask()

    assert len(rows) == 3


def test_list_can_be_filtered_searched_and_ordered(as_trainer, asha, running, today):
    locker = granted(PlanFactory(code="locker", group__name="Locker"), asha, today - timedelta(days=200))
    waiting = pending(running.plan)

    def ids(**query):
        return [row["id"] for row in data(as_trainer.get(LIST, query))]

    assert ids(status="active") == [running.pk]
    assert ids(status="expired") == ids(plan="locker") == ids(group=locker.group_id) == [locker.pk]
    assert ids(status="pending") == [waiting.pk]
    assert ids(ends_before=today.isoformat()) == [locker.pk]
    assert ids(ends_after=today.isoformat()) == [running.pk]
    assert ids(member=waiting.member_id) == ids(search=waiting.payment.reference) == [waiting.pk]
    assert set(ids(search="Otieno")) >= {running.pk, locker.pk}
    assert ids(ordering="ends_on", member=asha.pk) == [locker.pk, running.pk]
    assert ids(ordering="-ends_on", member=asha.pk) == [running.pk, locker.pk]


@pytest.mark.parametrize("query", [{"state": "active"}, {"ordering": "price"}, {"member__password": "x"}])
def test_unknown_query_parameter_is_refused(as_trainer, query):
    assert error(as_trainer.get(LIST, query)) == (400, "unknown_parameter")


@pytest.mark.parametrize("query", [{"status": "asleep"}, {"ends_before": "soon"}, {"group": "x"}, {"plan": "a\x00"}])
def test_invalid_query_parameter_is_refused(as_trainer, query):
    assert as_trainer.get(LIST, query).status_code == 400


# --- Actions ----------------------------------------------------------------------------------------------------------


ACTIONS = ["cancel/", "undo/", "freeze/", "unfreeze/", "change/", "upgrade/", "renew/"]


@pytest.mark.parametrize("action", ACTIONS)
def test_actions_on_subscriptions_of_others_are_refused(visitor, as_asha, as_trainer, action):
    other = granted()
    before = Subscription.objects.values().get()

    answers = [client.post(url(other, action), {}) for client in (visitor, as_asha, as_trainer)]

    assert [error(answer) for answer in answers] == [
        (401, "not_authenticated"),
        (404, "not_found"),
        (403, "permission_denied"),
    ]
    assert Subscription.objects.values().get() == before


def test_pending_purchase_is_cancelled(as_asha, plan, pushes):
    bought = data(as_asha.post(LIST, {"plan": "monthly"}))

    response = as_asha.post(f"{LIST}{bought['id']}/cancel/")

    assert (data(response)["status"], data(response)["payment"]["status"]) == ("cancelled", "cancelled")


def test_leaving_is_recorded_and_undone(as_asha, running):
    left = as_asha.post(url(running, "cancel/"))
    back = as_asha.post(url(running, "undo/"))

    assert (data(left)["status"], data(left)["leaving_at"] is None) == ("active", False)
    assert data(back)["leaving_at"] is None


def test_member_freezes_within_limits_and_unfreezes(as_asha, running, today):
    ends_on = (today + timedelta(days=5)).isoformat()

    frozen = as_asha.post(url(running, "freeze/"), {"ends_on": ends_on, "reason": "Travel"})
    too_long = as_asha.post(
        url(running, "freeze/"), {"starts_on": ends_on, "ends_on": (today + timedelta(days=9)).isoformat()}
    )
    back = as_asha.post(url(running, "unfreeze/"))

    assert data(frozen)["status"] == "frozen"
    assert data(frozen)["freezes"] == [
        {
            "id": running.freezes.get().pk,
            "starts_on": today.isoformat(),
            "ends_on": ends_on,
            "ended_early_on": None,
            "kind": "member",
            "reason": "Travel",
        }
    ]
    assert error(too_long) == (409, "freeze_limit")
    assert (data(back)["status"], data(back)["ends_on"]) == ("active", running.ends_on.isoformat())


def test_receptionist_freezes_beyond_the_limits(as_receptionist, running, today):
    response = as_receptionist.post(url(running, "freeze/"), {"ends_on": (today + timedelta(days=20)).isoformat()})

    assert (response.status_code, running.freezes.get().kind) == (200, "staff")


@pytest.mark.parametrize("body", [{}, {"ends_on": "soon"}, {"ends_on": "2027-02-30"}, {"ends_on": "2000-01-01"}])
def test_invalid_freeze_is_refused(as_asha, running, body):
    assert as_asha.post(url(running, "freeze/"), body).status_code == 400


def test_upgrade_requests_a_push_for_the_difference(as_asha, running, pushes):
    PlanFactory(code="gold", price=4000)

    response = as_asha.post(url(running, "upgrade/"), {"plan": "gold"})
    again = as_asha.post(url(running, "upgrade/"), {"plan": "gold"})

    assert (response.status_code, again.status_code) == (202, 200)
    assert (data(response)["replaces"], data(response)["value_carried"]) == (running.pk, 1500)
    assert data(response)["payment"]["amount_due"] == 2500
    assert [phone for _, phone in pushes] == ["254712345678"]


def test_renewal_buys_the_plan_chosen_for_the_end(as_asha, running, pushes):
    PlanFactory(code="bronze", price=900)

    changed = as_asha.post(url(running, "change/"), {"plan": "bronze"})
    renewed = as_asha.post(url(running, "renew/"), {"phone_number": None})

    assert data(changed)["next_plan"] == "bronze"
    assert (renewed.status_code, data(renewed)["plan"]["code"], pushes) == (202, "bronze", [])


def test_manager_gives_a_free_period_with_a_reason(as_manager, as_receptionist, asha, plan):
    gift = {"plan": "monthly", "member": asha.pk, "reason": "raffle"}

    response = as_manager.post(f"{LIST}gifts/", gift)

    assert response.status_code == 201
    assert (data(response)["status"], data(response)["origin"]) == ("active", "gift")
    assert as_receptionist.post(f"{LIST}gifts/", gift).status_code == 403
    assert error(as_manager.post(f"{LIST}gifts/", gift | {"plan": "none"})) == (404, "plan_not_found")
    assert error(as_manager.post(f"{LIST}gifts/", gift | {"member": 10**9})) == (404, "member_not_found")


def test_gift_is_possible_beside_a_pending_purchase(as_manager, asha, plan):
    bought = pending(plan, asha, now=clock.now())

    response = as_manager.post(f"{LIST}gifts/", {"plan": "monthly", "member": asha.pk, "reason": "raffle"})

    bought.refresh_from_db()
    assert (response.status_code, data(response)["status"], bought.fact) == (201, "active", "pending")


def test_manager_cannot_give_themselves_a_period(as_manager, plan):
    manager = get_user_model().objects.get(role="Manager")
    gift = {"plan": "monthly", "member": manager.pk, "reason": "raffle"}

    assert error(as_manager.post(f"{LIST}gifts/", gift)) == (403, "own_money")


def test_plan_with_highest_price_and_fee_can_be_bought(as_asha, pushes):
    PlanFactory(code="dearest", price=10_000_000, joining_fee=10_000_000)

    bought = as_asha.post(LIST, {"plan": "dearest"})

    assert data(bought)["payment"]["amount_due"] == 20_000_000


# --- The club ---------------------------------------------------------------------------------------------------------


def test_manager_creates_and_deletes_a_closure(as_manager, as_asha, running, today):
    days = {"starts_on": today.isoformat(), "ends_on": (today + timedelta(days=3)).isoformat(), "reason": "Repairs"}

    closed = as_manager.post("/api/v1/closures/", days)
    status = data(as_asha.get(url(running)))["status"]
    opened = as_manager.delete(f"/api/v1/closures/{data(closed)['id']}/")

    assert (closed.status_code, status, opened.status_code) == (201, "frozen", 204)
    assert data(as_asha.get(url(running)))["ends_on"] == running.ends_on.isoformat()
    assert as_asha.post("/api/v1/closures/", days).status_code == 403
    assert not Closure.objects.exists()


def test_check_in_is_for_staff(as_trainer, as_asha, visitor, asha, running):
    response = as_trainer.post("/api/v1/checkins/", {"member_number": asha.member_number, "gate": "Front"})

    assert data(response) == {
        "decision": "allow",
        "reason": "active",
        "until": (running.ends_on - timedelta(days=1)).isoformat(),
        "amount_to_pay": None,
        "reference": None,
        "member_name": "Asha Otieno",
    }
    assert error(as_trainer.post("/api/v1/checkins/", {"member_number": "0000000"})) == (404, "member_not_found")
    assert error(as_trainer.post("/api/v1/checkins/", {})) == (400, "validation_error")
    assert as_asha.post("/api/v1/checkins/", {"member_number": asha.member_number}).status_code == 403
    assert visitor.post("/api/v1/checkins/", {"member_number": asha.member_number}).status_code == 401


def test_payment_activates_a_pending_subscription(as_asha, plan, pushes):
    bought = data(as_asha.post(LIST, {"plan": "monthly"}))
    pay(Payment.objects.get(), at=clock.now())

    assert data(as_asha.get(f"{LIST}{bought['id']}/"))["status"] == "active"
