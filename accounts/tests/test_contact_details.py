"""Change of one's own e-mail address or phone number."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.core import mail
from django.db import connection

from accounts.models import CodePurpose, CustomUser, LoginSession, Notice, OneTimeCode, SecurityEvent
from accounts.services import contact_details, one_time_codes
from accounts.services.audit import Caller
from accounts.services.people import AlreadyTaken
from accounts.tests.factories import UserFactory
from accounts.tests.worker import work
from api.authentication import SessionRevoked
from api.clock import now
from api.tests.clients import browser, logged_in_as

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("texts"), pytest.mark.server]

AUTH = "/api/v1/auth/"
EMAIL, PHONE = f"{AUTH}email/change/", f"{AUTH}phone/change/"


def code_from_mail(address):
    work()
    (message,) = [message for message in mail.outbox if message.to == [address]]
    return message.body.split()[0]


def test_email_change_needs_the_code_sent_to_the_new_address():
    user = UserFactory(email="old@example.com", email_verified_at=None)
    client = logged_in_as(user)

    asked = client.post(EMAIL, {"email": "new@example.com"})
    user.refresh_from_db()
    before = user.email
    confirmed = client.post(f"{EMAIL}confirm/", {"code": code_from_mail("new@example.com")})

    user.refresh_from_db()
    assert (asked.status_code, asked.json()["data"]) == (202, None)
    assert before == "old@example.com"
    assert (confirmed.status_code, confirmed.json()["data"]["email"]) == (200, "new@example.com")
    assert user.email == "new@example.com"
    assert user.email_verified_at is not None


def test_phone_change_needs_the_code_sent_to_the_new_number(texts):
    user = UserFactory(phone_number="254711111111")
    client = logged_in_as(user)

    client.post(PHONE, {"phone_number": "0722 222 222"})
    work()
    (text,) = [text for to, text in texts if to == "254722222222"]
    confirmed = client.post(f"{PHONE}confirm/", {"code": text.split()[0]})

    user.refresh_from_db()
    assert (confirmed.status_code, user.phone_number) == (200, "254722222222")


def test_old_email_address_gets_a_notice_at_request_and_change():
    client = logged_in_as(UserFactory(email="old@example.com"))

    client.post(EMAIL, {"email": "new@example.com"})
    client.post(f"{EMAIL}confirm/", {"code": code_from_mail("new@example.com")})
    work()

    texts_to_old = [message.body for message in mail.outbox if message.to == ["old@example.com"]]
    assert [text.split(" ", 5)[5] for text in texts_to_old] == [
        "somebody asked to change the e-mail address of your Kilabu Fitness account."
        " If this was not you, change your password and tell the club.",
        "the e-mail address of your Kilabu Fitness account was changed."
        " If this was not you, change your password and tell the club.",
    ]


@pytest.mark.parametrize("email", [None, "typed-by-the-desk@example.com"])
def test_email_change_notice_goes_to_the_phone_without_verified_email(texts, email):
    client = logged_in_as(UserFactory(email=email, email_verified_at=None, phone_number="254711111111"))

    client.post(EMAIL, {"email": "new@example.com"})
    client.post(f"{EMAIL}confirm/", {"code": code_from_mail("new@example.com")})

    assert list(Notice.objects.values_list("address", flat=True)) == ["254711111111"] * 2


def test_first_phone_notice_goes_to_the_verified_email(texts):
    client = logged_in_as(UserFactory(phone_number=None, phone_verified_at=None, email="asha@example.com"))

    client.post(PHONE, {"phone_number": "0722 222 222"})
    work()
    ((_, text),) = texts
    client.post(f"{PHONE}confirm/", {"code": text.split()[0]})

    assert list(Notice.objects.values_list("address", flat=True)) == ["asha@example.com"] * 2


@pytest.mark.parametrize(
    ("address", "body"), [(EMAIL, {"email": "new@example.com"}), (PHONE, {"phone_number": "0722222222"})]
)
def test_contact_change_requires_a_fresh_login(address, body):
    client = logged_in_as(UserFactory())
    LoginSession.objects.update(auth_time=now() - timedelta(minutes=11))

    answer = client.post(address, body)

    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "reauth_required")
    assert not OneTimeCode.objects.exists()


def test_contact_of_another_user_gets_the_same_answer_without_code():
    UserFactory(email="taken@example.com")
    user = UserFactory(email="mine@example.com")
    client = logged_in_as(user)

    answer = client.post(EMAIL, {"email": "TAKEN@example.com"})
    work()
    confirmed = client.post(f"{EMAIL}confirm/", {"code": "123456"})

    assert (answer.status_code, answer.json()["data"]) == (202, None)
    told, asked = sorted(mail.outbox, key=lambda message: message.to, reverse=True)
    assert (told.to, asked.to) == (["taken@example.com"], ["mine@example.com"])
    assert "somebody tried to register this contact at Kilabu Fitness, where it has an account already." in told.body
    assert (confirmed.status_code, confirmed.json()["error"]["code"]) == (400, "invalid_or_expired_key")


def test_contact_verified_by_another_user_meanwhile_is_a_conflict():
    user = UserFactory()
    client = logged_in_as(user)
    client.post(EMAIL, {"email": "new@example.com"})
    code = code_from_mail("new@example.com")
    UserFactory(email="NEW@example.com")

    answer = client.post(f"{EMAIL}confirm/", {"code": code})

    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "already_taken")


def test_unverified_contact_moves_to_the_user_who_verifies_it():
    squatter = UserFactory(email="mine@example.com", email_verified_at=None)
    user = UserFactory()
    client = logged_in_as(user)
    client.post(EMAIL, {"email": "mine@example.com"})

    answer = client.post(f"{EMAIL}confirm/", {"code": code_from_mail("mine@example.com")})

    squatter.refresh_from_db()
    user.refresh_from_db()
    assert (answer.status_code, user.email, squatter.email) == (200, "mine@example.com", None)


def test_ended_session_cannot_confirm_a_contact_change():
    user = UserFactory()
    client = logged_in_as(user)
    client.post(EMAIL, {"email": "new@example.com"})
    OneTimeCode.objects.update(code_hash=one_time_codes.hash_of("123456"))
    session = LoginSession.objects.select_related("user").get()
    client.post(f"{AUTH}logout/")

    with pytest.raises(SessionRevoked):
        contact_details.confirm_change(
            session=session, purpose=CodePurpose.EMAIL, code="123456", caller=Caller(), now=now()
        )

    user.refresh_from_db()
    assert user.email != "new@example.com"


def test_contact_change_ends_other_sessions_only():
    user = UserFactory()
    other, client = logged_in_as(user), logged_in_as(user)
    client.post(EMAIL, {"email": "new@example.com"})

    client.post(f"{EMAIL}confirm/", {"code": code_from_mail("new@example.com")})

    assert client.get(f"{AUTH}me/").status_code == 200
    assert other.get(f"{AUTH}me/").status_code == 401


def test_contact_change_ends_reset_codes_sent_before(texts):
    user = UserFactory(phone_number="254711111111")
    client = logged_in_as(user)
    browser().post(f"{AUTH}password/reset/", {"identifier": user.username})
    client.post(EMAIL, {"email": "new@example.com"})
    work()
    (reset,) = [text.split()[0] for _, text in texts]
    change = next(message.body.split()[0] for message in mail.outbox if message.to == ["new@example.com"])

    client.post(f"{EMAIL}confirm/", {"code": change})
    answer = browser().post(
        f"{AUTH}password/reset/confirm/", {"identifier": user.username, "code": reset, "password": "taken-over-now"}
    )

    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_or_expired_key")


def test_code_works_only_for_its_purpose_and_user():
    user, thief = UserFactory(), UserFactory()
    client = logged_in_as(user)
    client.post(EMAIL, {"email": "new@example.com"})
    code = code_from_mail("new@example.com")

    answers = [
        client.post(f"{PHONE}confirm/", {"code": code}),
        logged_in_as(thief).post(f"{EMAIL}confirm/", {"code": code}),
        client.post(f"{EMAIL}confirm/", {"code": code}),
        client.post(f"{EMAIL}confirm/", {"code": code}),
    ]

    assert [answer.status_code for answer in answers] == [400, 400, 200, 400]


def test_second_change_request_ends_the_first_code():
    client = logged_in_as(UserFactory())
    client.post(EMAIL, {"email": "first@example.com"})
    first = code_from_mail("first@example.com")
    client.post(EMAIL, {"email": "second@example.com"})

    answer = client.post(f"{EMAIL}confirm/", {"code": first})

    assert answer.status_code == 400


def test_audit_of_a_contact_change_omits_the_contact():
    user = UserFactory()
    client = logged_in_as(user)

    client.post(EMAIL, {"email": "new@example.com"})
    client.post(f"{EMAIL}confirm/", {"code": code_from_mail("new@example.com")})

    rows = SecurityEvent.objects.filter(user=user).order_by("id").values_list("event", "outcome", "detail")
    assert list(rows) == [
        ("login", "ok", {}),
        ("email_change_asked", "ok", {}),
        ("sessions_revoked", "ok", {"count": 0, "reason": "email_changed"}),
        ("email_changed", "ok", {}),
    ]


def test_contact_changes_are_limited_per_user():
    client = logged_in_as(UserFactory())

    answers = [
        client.post(EMAIL, {"email": f"new{n}@example.com"}) for n in range(contact_details.CHANGES_PER_PERSON + 1)
    ]

    assert [answer.status_code for answer in answers] == [202] * contact_details.CHANGES_PER_PERSON + [429]


@pytest.mark.parametrize(
    ("address", "body"),
    [
        (EMAIL, {}),
        (EMAIL, {"email": "x"}),
        (EMAIL, {"email": ["a@example.com"]}),
        (EMAIL, {"email": f"a@{'b' * 60}.{'c' * 60}.{'d' * 60}.{'e' * 60}.{'f' * 30}.com"}),
        (PHONE, {"phone_number": "0202 222 222"}),
        (f"{EMAIL}confirm/", {"code": "12345"}),
        (f"{PHONE}confirm/", {"code": "١٢٣٤٥٦"}),
    ],
)
def test_invalid_contact_is_refused(address, body):
    answer = logged_in_as(UserFactory()).post(address, body)

    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "validation_error")


@pytest.mark.parametrize("address", [EMAIL, PHONE, f"{EMAIL}confirm/", f"{PHONE}confirm/"])
def test_contact_change_requires_a_login(address):
    assert browser().post(address, {}).status_code == 401


@pytest.mark.django_db(transaction=True)
def test_concurrent_confirmations_verify_a_contact_for_one_user():
    people = [UserFactory(), UserFactory()]
    sessions = [
        logged_in_as(person) and LoginSession.objects.select_related("user").get(user=person) for person in people
    ]
    for person in people:
        contact_details.request_change(
            user=person, purpose=CodePurpose.EMAIL, contact="new@example.com", caller=Caller(), now=now()
        )
    OneTimeCode.objects.update(code_hash=one_time_codes.hash_of("123456"))

    def confirm(session):
        try:
            contact_details.confirm_change(
                session=session, purpose=CodePurpose.EMAIL, code="123456", caller=Caller(), now=now()
            )
            return "changed"
        except AlreadyTaken:
            return "taken"
        finally:
            connection.close()

    with ThreadPoolExecutor(2) as threads:
        answers = sorted(threads.map(confirm, sessions))

    assert answers == ["changed", "taken"]
    assert CustomUser.objects.filter(email="new@example.com").count() == 1


def test_code_limit_is_the_same_for_known_and_unknown_contacts():
    UserFactory(email="taken@example.com")

    def ask_six_times(address):
        client = logged_in_as(UserFactory())
        return [client.post(EMAIL, {"email": address}).status_code for _ in range(6)]

    assert ask_six_times("taken@example.com") == ask_six_times("free@example.com") == [202] * 5 + [429]
