"""Payments over HTTP as members and staff see them."""

import pytest
from django.utils import timezone
from rest_framework.test import APIClient

from payments.daraja.messages import C2bMessage
from payments.desk import cash_sessions, reported_codes
from payments.evidence import c2b_confirmations
from payments.models import CashSession, CodeCheck, CodeClaim, Payment, Receipt, ReviewItem, StkPush
from payments.services.next_actions import next_action
from payments.tests.factories import NOON, MemberFactory, create_payment, make_push

pytestmark = pytest.mark.django_db


def as_user(user):
    client = APIClient()
    client.force_authenticate(user)
    return client


@pytest.fixture
def member():
    return MemberFactory(first_name="Asha", last_name="Otieno", phone_number="254712345678")


@pytest.fixture
def receptionist():
    return MemberFactory(role="Receptionist")


@pytest.fixture
def manager():
    return MemberFactory(role="Manager")


def unmatched(amount=1500, code="TKN1AB2C3D"):
    message = C2bMessage(code, NOON, amount, "174379", "gym", "2547 ***** 678", "JANE", "Pay Bill", "")
    c2b_confirmations.apply_c2b(message=message, now=NOON)
    return ReviewItem.objects.get(receipt__code=code)


def code_of(answer):
    return answer.status_code, answer.json()["error"]["code"]


def test_member_sees_own_payments_newest_first(member):
    first, second = create_payment(member, amount=100), create_payment(member, amount=200)
    create_payment()

    answer = as_user(member).get("/api/v1/payments/").json()

    assert [row["reference"] for row in answer["data"]] == [second.reference, first.reference]
    assert answer["data"][0] == {
        "reference": second.reference,
        "description": "Gym, one month",
        "payer": {
            "id": member.pk,
            "first_name": "Asha",
            "last_name": "Otieno",
            "member_number": member.member_number,
        },
        "amount_due": 200,
        "amount_paid": 0,
        "amount_owed": 200,
        "status": "pending",
        "next_action": "pay",
        "created_at": "2026-11-02T09:00:00Z",
        "expires_at": "2026-11-05T09:00:00Z",
        "paid_at": None,
    }
    assert answer["meta"]["pagination"] == {"next": None, "previous": None}


def test_payment_list_costs_one_query(member, django_assert_num_queries):
    for _ in range(3):
        create_payment(member)
    client = as_user(member)

    with django_assert_num_queries(1):
        assert len(client.get("/api/v1/payments/").json()["data"]) == 3


def test_cursor_pages_lose_no_payment(member):
    references = [create_payment(member).reference for _ in range(5)]
    client, url, seen = as_user(member), "/api/v1/payments/?page_size=2", []

    while url:
        answer = client.get(url).json()
        seen += [row["reference"] for row in answer["data"]]
        url = answer["meta"]["pagination"]["next"]

    assert seen == references[::-1]


def test_staff_see_and_filter_all_payments(member, receptionist):
    mine = create_payment(member)
    create_payment()
    client = as_user(receptionist)

    assert len(client.get("/api/v1/payments/").json()["data"]) == 2
    rows = client.get(f"/api/v1/payments/?payer={member.pk}&status=pending").json()["data"]
    assert [row["reference"] for row in rows] == [mine.reference]
    assert code_of(client.get("/api/v1/payments/?colour=red")) == (400, "unknown_parameter")


def test_endpoints_need_a_login():
    payment = create_payment()

    for path in ("payments/", f"payments/{payment.reference}/", "receipts/", "review-items/", "payments/credit/"):
        assert code_of(APIClient().get(f"/api/v1/{path}")) == (401, "not_authenticated")


def test_payment_detail_shows_pushes_receipts_and_amount_owed(member, django_assert_num_queries):
    push = make_push(create_payment(member, amount=1500), phone="254712345678")
    message = C2bMessage("TKN1AB2C3D", NOON, 1000, "174379", push.payment.reference, "", "JANE", "Pay Bill", "")
    c2b_confirmations.apply_c2b(message=message, now=NOON)
    client = as_user(member)

    with django_assert_num_queries(4):
        answer = client.get(f"/api/v1/payments/{push.payment.reference.lower()}/")

    data = answer.json()["data"]
    assert (data["status"], data["amount_owed"], data["companions"]) == ("partially_paid", 500, [])
    assert data["next_action"] == "wait_for_phone"
    assert data["pushes"] == [
        {
            "id": push.pk,
            "phone": "2547****678",
            "amount": 1500,
            "status": "sent",
            "is_open": True,
            "result_code": "",
            "message": "Check your phone and enter your M-Pesa PIN.",
            "created_at": "2026-11-02T09:00:00Z",
            "ended_at": None,
        }
    ]
    assert [(row["code"], row["amount"]) for row in data["receipts"]] == [("TKN1AB2C3D", 1000)]


def next_actions(client, payment):
    """Return the next action of a payment in its detail, and in the list."""
    rows = client.get("/api/v1/payments/").json()["data"]
    return (
        client.get(f"/api/v1/payments/{payment.reference}/").json()["data"]["next_action"],
        next(row["next_action"] for row in rows if row["reference"] == payment.reference),
    )


def test_push_for_the_rest_tells_the_client_to_wait(member):
    payment = create_payment(member, amount=1500)
    message = C2bMessage("TKN1AB2C3D", NOON, 1000, "174379", payment.reference, "", "JANE", "Pay Bill", "")
    c2b_confirmations.apply_c2b(message=message, now=NOON)
    payment.refresh_from_db()
    client = as_user(member)
    assert next_actions(client, payment) == ("pay_rest", "pay_rest")

    asked = client.post(f"/api/v1/payments/{payment.reference}/push/", {}, format="json").json()["data"]

    assert (asked["status"], asked["next_action"]) == ("partially_paid", "wait_for_phone")
    assert next_actions(client, payment) == ("wait_for_phone", "wait_for_phone")
    StkPush.objects.update(status="failed", ended_at=timezone.now(), next_check_at=None)
    assert next_actions(client, payment) == ("pay_rest", "pay_rest")


@pytest.mark.parametrize("is_owed", [True, False])
def test_group_push_tells_each_payment_of_the_group(member, is_owed):
    group = create_payment(member, amount=1500)
    other = create_payment(member, amount=500, group_payment_id=group.pk)
    settle(group)
    if not is_owed:
        settle(other)
    make_push(group, amount=500)

    expected = "wait_for_phone" if is_owed else "done"
    client = as_user(member)
    assert [next_actions(client, each) for each in (group, other)] == [(expected, expected)] * 2


def settle(payment):
    """Pay a payment through the paybill."""
    code = f"TKN1AB{payment.pk:04}"[-10:]
    message = C2bMessage(code, NOON, payment.amount_due, "174379", payment.reference, "", "JANE", "Pay Bill", "")
    c2b_confirmations.apply_c2b(message=message, now=NOON)


@pytest.mark.parametrize(
    ("status", "action"),
    [
        ("pending", "pay"),
        ("processing", "wait_for_phone"),
        ("partially_paid", "pay_rest"),
        ("paid", "done"),
        ("failed", "pay"),
        ("expired", "buy_again"),
        ("cancelled", "done"),
        ("refunded", "done"),
    ],
)
def test_status_without_open_push_gives_the_next_action(status, action):
    assert next_action(status, awaits_push=False) == action


def test_push_message_follows_accept_language(member):
    push = make_push(create_payment(member))

    answer = as_user(member).get(f"/api/v1/payments/{push.payment.reference}/", HTTP_ACCEPT_LANGUAGE="sw")

    assert answer.json()["data"]["pushes"][0]["message"] == "Angalia simu yako na uweke PIN ya M-Pesa."


def test_payment_of_another_member_is_not_found(member):
    payment = create_payment()
    client = as_user(member)

    for answer in (
        client.get(f"/api/v1/payments/{payment.reference}/"),
        client.post(f"/api/v1/payments/{payment.reference}/push/"),
        client.post(f"/api/v1/payments/{payment.reference}/cancel/"),
        client.get("/api/v1/payments/K0000000/"),
    ):
        assert code_of(answer) == (404, "not_found")


def test_push_goes_to_the_payers_or_the_given_phone(member):
    payment, other = create_payment(member), create_payment(member)
    client = as_user(member)

    answers = [
        client.post(f"/api/v1/payments/{payment.reference}/push/"),
        client.post(f"/api/v1/payments/{other.reference}/push/", {"phone_number": "0722 000 111"}),
    ]

    assert [answer.status_code for answer in answers] == [202, 202]
    assert answers[0].json()["data"]["status"] == "processing"
    assert list(StkPush.objects.order_by("pk").values_list("phone", flat=True)) == ["254712345678", "254722000111"]


def test_second_push_is_refused_while_one_is_open(member):
    payment = create_payment(member)
    client = as_user(member)
    client.post(f"/api/v1/payments/{payment.reference}/push/")

    assert code_of(client.post(f"/api/v1/payments/{payment.reference}/push/")) == (409, "push_open")


@pytest.mark.parametrize("phone", ["", "123", "+1 202 555 0100", 7, None, "2547123456789012"])
def test_push_to_a_foreign_phone_number_is_refused(member, phone):
    payment = create_payment(member)

    answer = as_user(member).post(f"/api/v1/payments/{payment.reference}/push/", {"phone_number": phone})

    assert code_of(answer) == (400, "validation_error")


def test_push_without_any_phone_number_is_refused():
    payer = MemberFactory(phone_number=None)

    answer = as_user(payer).post(f"/api/v1/payments/{create_payment(payer).reference}/push/")

    assert code_of(answer) == (400, "phone_number_needed")


def test_paid_payment_cannot_be_cancelled(member):
    payment, paid = create_payment(member), create_payment(member, amount=0)
    client = as_user(member)

    assert client.post(f"/api/v1/payments/{payment.reference}/cancel/").json()["data"]["status"] == "cancelled"
    assert code_of(client.post(f"/api/v1/payments/{paid.reference}/cancel/")) == (409, "invalid_transition")


def test_trainer_sees_no_money_of_others(member):
    trainer = MemberFactory(role="Trainer")
    payment, own = create_payment(member, amount=100), create_payment(trainer, amount=100)
    for code, paid in (("TKN0000001", payment), ("TKN0000002", own)):
        message = C2bMessage(code, NOON, 100, "174379", paid.reference, "", "JANE", "Pay Bill", "")
        c2b_confirmations.apply_c2b(message=message, now=NOON)
    receipt = Receipt.objects.get(code="TKN0000001")
    client = as_user(trainer)

    assert [row["reference"] for row in client.get("/api/v1/payments/").json()["data"]] == [own.reference]
    assert [row["code"] for row in client.get("/api/v1/receipts/").json()["data"]] == ["TKN0000002"]
    for path in (f"payments/{payment.reference}/", f"receipts/{receipt.pk}/", f"receipts/{receipt.pk}/pdf/"):
        assert client.get(f"/api/v1/{path}").status_code == 404
    for verb in ("push", "cancel"):
        answer = client.post(f"/api/v1/payments/{payment.reference}/{verb}/", {}, format="json")
        assert code_of(answer) == (404, "not_found")


def test_credit_of_the_caller_is_shown(member):
    payment = create_payment(member, amount=100)
    message = C2bMessage("TKN1AB2C3D", NOON, 150, "174379", payment.reference, "", "", "Pay Bill", "")
    c2b_confirmations.apply_c2b(message=message, now=NOON)

    assert as_user(member).get("/api/v1/payments/credit/").json()["data"] == {"credit": 50}


def test_members_see_own_receipts_and_staff_see_all(member, receptionist, django_assert_num_queries):
    unmatched(code="TKN0000001")
    payment = create_payment(member, amount=100)
    message = C2bMessage("TKN0000002", NOON, 150, "174379", payment.reference, "", "JANE", "Pay Bill", "")
    c2b_confirmations.apply_c2b(message=message, now=NOON)
    client = as_user(member)

    with django_assert_num_queries(2):
        rows = client.get("/api/v1/receipts/").json()["data"]

    assert [(row["code"], row["amount_left"]) for row in rows] == [("TKN0000002", 50)]
    assert rows[0]["payments"] == [{"reference": payment.reference, "amount": 100}]
    assert len(as_user(receptionist).get("/api/v1/receipts/").json()["data"]) == 2
    other = as_user(MemberFactory()).get(f"/api/v1/receipts/{rows[0]['id']}/")
    assert code_of(other) == (404, "not_found")


@pytest.mark.parametrize(("role", "told"), [("Receptionist", None), ("Manager", "TKN1AB2C3D")])
def test_unmatched_code_needs_a_role_that_may_assign(role, told):
    unmatched()
    client = as_user(MemberFactory(role=role))

    [row] = client.get("/api/v1/receipts/").json()["data"]
    paper = client.get(f"/api/v1/receipts/{row['id']}/pdf/")

    assert (row["code"], row["payer_name"]) == (told, "JANE")
    assert client.get(f"/api/v1/receipts/{row['id']}/").json()["data"]["code"] == told
    assert paper.status_code == (200 if told else 404)


@pytest.mark.parametrize(
    ("typed", "role", "shown"),
    [
        ("0712345678", "Member", "2547****678"),
        ("0712345678", "Receptionist", "0712345678"),
        ("gym", "Receptionist", "gym"),
    ],
)
def test_account_phone_number_is_masked_for_low_roles(member, typed, role, shown):
    message = C2bMessage("TKN0000002", NOON, 150, "174379", typed, "", "JANE", "Pay Bill", "")
    c2b_confirmations.apply_c2b(message=message, now=NOON)
    client = as_user(member if role == "Member" else MemberFactory(role=role))

    [row] = client.get("/api/v1/receipts/").json()["data"]

    assert row["account_typed"] == shown
    assert client.get(f"/api/v1/receipts/{row['id']}/").json()["data"]["account_typed"] == shown


def test_receptionist_records_cash(member, receptionist, manager):
    payment = create_payment(member, amount=500, now=timezone.now())
    desk_client = as_user(receptionist)
    body = {"channel": "cash", "amount": 500, "payment": payment.reference}

    assert code_of(desk_client.post("/api/v1/receipts/", body)) == (409, "no_open_session")
    assert desk_client.post("/api/v1/cash-sessions/", {"opening_float": 100}).status_code == 201
    created = desk_client.post("/api/v1/receipts/", body)
    assert (created.status_code, created.json()["data"]["number"]) == (201, "2026-000001")
    void = f"/api/v1/receipts/{created.json()['data']['id']}/void/"
    assert code_of(desk_client.post(void, {"reason": "typo"})) == (403, "second_person_needed")
    assert as_user(manager).post(void, {"reason": "typo"}).json()["data"]["reversed_at"] is not None
    closed = desk_client.post("/api/v1/cash-sessions/close/", {"counted": 90})
    assert closed.json()["data"]["difference"] == -10
    assert len(desk_client.get("/api/v1/cash-sessions/").json()["data"]) == 1
    payment.refresh_from_db()
    assert payment.status == "pending"


def test_member_cannot_record_cash(member):
    body = {"channel": "cash", "amount": 500, "member": member.pk}

    assert code_of(as_user(member).post("/api/v1/receipts/", body)) == (403, "permission_denied")


@pytest.mark.parametrize("amount", [0, -1, 1.5, "10", "1e3", True, None, 10_000_001, 2**63])
def test_desk_amount_must_be_whole_shillings(member, receptionist, amount):
    body = {"channel": "bank", "amount": amount, "member": member.pk}

    assert code_of(as_user(receptionist).post("/api/v1/receipts/", body)) == (400, "validation_error")


@pytest.mark.parametrize(
    "owner", [{}, {"member": 1, "payment": "K0000000"}, {"payment": "K0000000"}, {"member": 2**70}]
)
def test_desk_receipt_names_one_owner(receptionist, owner):
    answer = as_user(receptionist).post("/api/v1/receipts/", {"channel": "bank", "amount": 5, "note": "FT2630"} | owner)

    assert code_of(answer) == (400, "validation_error")


def test_desk_receipt_for_an_unknown_member_is_refused(receptionist):
    answer = as_user(receptionist).post(
        "/api/v1/receipts/", {"channel": "bank", "amount": 5, "note": "FT2630", "member": 10**9}
    )

    assert code_of(answer) == (400, "owner_needed")


def test_reporting_a_code_is_answered_202(member, receptionist):
    payment = create_payment(member, amount=1500)
    client = as_user(receptionist)

    waiting = client.post("/api/v1/code-claims/", {"code": "tkn1ab2c3d", "payment": payment.reference})
    assert (waiting.status_code, waiting.json()["data"]["receipt"]) == (202, None)
    message = C2bMessage("TKN1AB2C3D", NOON, 1500, "174379", "gym", "", "JANE", "Pay Bill", "")
    c2b_confirmations.apply_c2b(message=message, now=NOON)
    assert client.post("/api/v1/code-claims/", {"code": "TKN1AB2C3D", "payment": payment.reference}).status_code == 200
    assert Payment.objects.get(pk=payment.pk).status == "paid"


def test_invalid_code_is_reported_on_its_field(member, receptionist, manager):
    payment = create_payment(member, amount=1500)

    refused = [
        as_user(receptionist).post("/api/v1/code-claims/", {"code": "i paid", "payment": payment.reference}),
        as_user(manager).post("/api/v1/code-checks/", {"code": "0712345678"}),
    ]

    said = "An M-Pesa code is ten letters and digits, such as TKN1AB2C3D, and begins with a letter."
    details = [{"field": "code", "code": "invalid_code", "message": said}]
    assert [(each.status_code, each.json()["error"]["details"]) for each in refused] == [(400, details)] * 2
    assert not CodeClaim.objects.exists()


def test_reported_codes_are_listed_newest_first(member, receptionist, django_assert_num_queries):
    payment = create_payment(member, amount=1500)
    for code in ("TKN0000001", "TKN0000002"):
        reported_codes.report_code(code=code, payment_id=payment.pk, by_id=receptionist.pk, now=NOON)
    reported_codes.end_code(code="TKN0000001", why="M-Pesa does not know this code.", now=NOON)

    with django_assert_num_queries(1):
        rows = as_user(receptionist).get("/api/v1/code-claims/").json()["data"]

    claim = CodeClaim.objects.get(code="TKN0000001")
    assert [row["code"] for row in rows] == ["TKN0000002", "TKN0000001"]
    assert rows[1] == {
        "id": claim.pk,
        "code": "TKN0000001",
        "payment": payment.reference,
        "claimed_at": "2026-11-02T09:00:00Z",
        "receipt": None,
        "ended_at": "2026-11-02T09:00:00Z",
        "ended_why": "M-Pesa does not know this code.",
    }


def test_manager_starts_a_code_check(manager, django_assert_num_queries):
    client = as_user(manager)

    asked = client.post("/api/v1/code-checks/", {"code": "tkn1 ab2c3d"})
    client.post("/api/v1/code-checks/", {"code": "TKN0000002"})

    check = CodeCheck.objects.get(code="TKN1AB2C3D")
    body = asked.json()["data"]
    assert asked.status_code == 202
    assert body == {
        "id": check.pk,
        "code": "TKN1AB2C3D",
        "status": "waiting",
        "said": "",
        "result_code": "",
        "receipt": None,
        "asked_by": manager.pk,
        "created_at": body["created_at"],
        "ended_at": None,
    }
    assert client.get(f"/api/v1/code-checks/{check.pk}/").json()["data"] == body
    with django_assert_num_queries(1):
        rows = client.get("/api/v1/code-checks/").json()["data"]
    assert [row["code"] for row in rows] == ["TKN0000002", "TKN1AB2C3D"]


def test_code_check_needs_a_valid_code_and_an_initiator(manager, settings):
    client = as_user(manager)

    assert code_of(client.post("/api/v1/code-checks/", {"code": "TKN-1"})) == (400, "invalid_code")
    assert code_of(client.post("/api/v1/code-checks/", {})) == (400, "validation_error")
    settings.DARAJA_INITIATOR = ""
    assert code_of(client.post("/api/v1/code-checks/", {"code": "TKN1AB2C3D"})) == (409, "code_checks_not_set_up")
    assert code_of(client.get("/api/v1/code-checks/0/")) == (404, "not_found")


def test_code_checks_and_reported_codes_need_their_roles(member, receptionist):
    for method, path in (("get", ""), ("post", ""), ("get", "1/")):
        answer = getattr(as_user(receptionist), method)(f"/api/v1/code-checks/{path}")
        assert code_of(answer) == (403, "permission_denied")
    assert code_of(as_user(member).get("/api/v1/code-claims/")) == (403, "permission_denied")
    assert code_of(APIClient().post("/api/v1/code-checks/", {"code": "TKN1AB2C3D"})) == (401, "not_authenticated")


def test_unmatched_money_is_listed_assigned_and_undone(member, manager, django_assert_num_queries):
    unmatched(code="TKN0000002")
    item = unmatched()
    payment = create_payment(member, amount=1500, now=timezone.now())
    client = as_user(manager)

    with django_assert_num_queries(3):
        rows = client.get("/api/v1/review-items/?status=open").json()["data"]
    assert [row["reason"] for row in rows] == ["unmatched", "unmatched"]
    assert rows[0]["suggested_members"] == [member.pk]
    assert rows[0]["receipt"]["code"] == "TKN1AB2C3D"

    url = f"/api/v1/review-items/{item.pk}"
    assert client.post(f"{url}/assign/", {"payment": payment.reference}).json()["data"]["status"] == "resolved"
    assert Payment.objects.get(pk=payment.pk).status == "paid"
    assert code_of(client.post(f"{url}/assign/", {"payment": payment.reference})) == (409, "not_assignable")
    assert client.post(f"{url}/undo/").json()["data"]["status"] == "open"
    assert Payment.objects.get(pk=payment.pk).status == "pending"
    assert client.post(f"{url}/dismiss/", {"reason": "sent back"}).json()["data"]["status"] == "dismissed"
    assert code_of(client.post(f"{url}/dismiss/", {"reason": "sent back"})) == (409, "already_decided")


def test_review_items_are_for_managers(receptionist, manager):
    for path in ("", "1/assign/", "1/undo/", "1/dismiss/"):
        method = as_user(receptionist).post if path else as_user(receptionist).get
        assert code_of(method(f"/api/v1/review-items/{path}")) == (403, "permission_denied")
    assert code_of(as_user(manager).post("/api/v1/review-items/0/undo/")) == (404, "not_found")


def test_manager_records_a_refund(member, manager, django_assert_num_queries):
    payment = create_payment(member, amount=500, now=timezone.now())
    message = C2bMessage("TKN1AB2C3D", NOON, 700, "174379", payment.reference, "", "JANE", "Pay Bill", "")
    c2b_confirmations.apply_c2b(message=message, now=NOON)
    receipt = Receipt.objects.get()
    client, key = as_user(manager), {"Idempotency-Key": "a-key"}
    body = {"receipt": receipt.pk, "amount": 600, "paid_from": "mpesa", "reason": "moved away"}

    made = [client.post("/api/v1/refunds/", body, headers=key) for _ in range(2)]
    rest = client.post("/api/v1/refunds/", {"member": member.pk, "paid_from": "bank", "reason": "moved away"})

    assert [answer.status_code for answer in made] == [201, 201]
    assert made[0].json()["data"] == made[1].json()["data"]
    [refund] = made[0].json()["data"]
    assert refund == {
        "id": refund["id"],
        "receipt": receipt.pk,
        "amount": 600,
        "paid_from": "mpesa",
        "reason": "moved away",
        "cash_session": None,
        "made_by": manager.pk,
        "made_at": refund["made_at"],
    }
    assert code_of(rest) == (409, "more_than_held")
    assert (
        client.post("/api/v1/refunds/", {"receipt": receipt.pk, "paid_from": "bank", "reason": "x"}).status_code == 201
    )
    with django_assert_num_queries(1):
        rows = client.get("/api/v1/refunds/").json()["data"]
    assert [row["amount"] for row in rows] == [100, 600]
    shown = as_user(member).get(f"/api/v1/receipts/{receipt.pk}/").json()["data"]
    assert (shown["amount"], shown["amount_refunded"], shown["amount_left"]) == (700, 700, 0)
    assert Payment.objects.get().status == "refunded"


@pytest.mark.parametrize(
    "changes",
    [{"receipt": None}, {"member": 1}, {"amount": 0}, {"amount": "5"}, {"paid_from": "sales"}, {"reason": " "}],
)
def test_invalid_refunds_are_refused(manager, changes):
    body = {"receipt": 1, "amount": 5, "paid_from": "bank", "reason": "moved away"} | changes

    assert code_of(as_user(manager).post("/api/v1/refunds/", body)) == (400, "validation_error")


def test_refunds_are_for_managers(receptionist, manager):
    body = {"receipt": 10**9, "paid_from": "bank", "reason": "moved away"}

    assert code_of(as_user(receptionist).post("/api/v1/refunds/", body)) == (403, "permission_denied")
    assert code_of(as_user(receptionist).get("/api/v1/refunds/")) == (403, "permission_denied")
    assert code_of(as_user(manager).post("/api/v1/refunds/", body)) == (404, "not_found")
    assert code_of(as_user(manager).post("/api/v1/refunds/", body | {"paid_from": "cash"}))[0] == 404


def test_count_of_an_earlier_session_does_not_close_the_open_one(receptionist):
    client = as_user(receptionist)
    earlier = client.post("/api/v1/cash-sessions/", {"opening_float": 100}).json()["data"]["id"]
    count = {"counted": 100, "session": earlier}
    assert client.post("/api/v1/cash-sessions/close/", count).status_code == 200
    client.post("/api/v1/cash-sessions/", {"opening_float": 500})

    again = client.post("/api/v1/cash-sessions/close/", count)  # the other tab

    assert code_of(again) == (409, "session_counted")
    assert CashSession.objects.get(closed_at=None).opening_float == 500


def test_cashier_cannot_close_the_session_of_another(receptionist):
    cash_sessions.open_session(cashier_id=receptionist.pk, opening_float=0, now=NOON)
    other = MemberFactory(role="Receptionist")

    assert code_of(as_user(other).post("/api/v1/cash-sessions/close/", {"counted": 0})) == (409, "no_open_session")
