"""Code requests: the same answer, work and limits for known and unknown identifiers, and no denial by strangers."""

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from procrastinate.contrib.django.models import ProcrastinateJob

from accounts.models import CodePurpose, CustomUser, OneTimeCode, SecurityEvent
from accounts.services import one_time_codes
from accounts.services.audit import Caller
from accounts.tests.authenticators import AUTH
from accounts.tests.factories import PASSWORD, UserFactory
from accounts.tests.worker import code_in_mail, look_up, work
from api.clock import now
from api.errors import TooMany
from api.tests.clients import browser, logged_in_as

pytestmark = [pytest.mark.django_db, pytest.mark.server]

RESET, RESEND, REGISTER, VERIFY = "password/reset/", "verify/resend/", "register/", "verify/"
UNVERIFIED = {"email_verified_at": None, "phone_verified_at": None}


def ask(path, identifier, *, ip="10.0.0.1", client=None, **person):
    body = {"identifier": identifier}
    if path == REGISTER:
        names = {"first_name": "Amina", "last_name": "Bakari", "password": PASSWORD, "consent": True}
        body = {**names, "email": identifier, **person}
    return (client or browser()).post(f"{AUTH}{path}", body, REMOTE_ADDR=ip)


def verify(identifier, code, password=PASSWORD, **extra):
    return browser().post(f"{AUTH}{VERIFY}", {"identifier": identifier, "password": password, "code": code}, **extra)


def statuses(*answers):
    return [answer.status_code for answer in answers]


PEOPLE = {
    "unknown": None,
    "verified": {},
    "unverified": UNVERIFIED,
    "without a password": {**UNVERIFIED, "password": None},
    "with the same name": {**UNVERIFIED, "first_name": "Amina", "last_name": "Bakari", "password": None},
    "inactive": {"is_active": False},
    "staff": {**UNVERIFIED, "role": "Receptionist", "is_staff": True},
}


@pytest.mark.parametrize("path", [RESET, RESEND, REGISTER])
def test_every_request_runs_the_same_statements(path):
    asked = {}
    for who, fields in PEOPLE.items():
        email = f"{who.replace(' ', '')}@example.com"
        if fields is not None:
            UserFactory(email=email, **fields)
        client = browser()
        with CaptureQueriesContext(connection) as queries:
            answer = ask(path, email, client=client)
        words = [query["sql"].split(maxsplit=1)[0] for query in queries.captured_queries]
        asked[who] = answer.status_code, answer.json()["data"], words

    assert len({str(each) for each in asked.values()}) == 1


@pytest.mark.parametrize("path", [RESET, RESEND])
def test_all_spellings_of_an_identifier_share_one_limit(path):
    UserFactory(email="ali@example.com")
    for _ in range(5):
        ask(path, "ali@example.com")

    answers = [ask(path, spelling) for spelling in ("ALI@example.com", "\uff41li@example.com", "al\u0130@example.com")]

    assert statuses(*answers) == [429, 429, 202]


def test_reset_limit_does_not_link_two_contacts_of_a_user():
    user = UserFactory()
    for _ in range(6):
        ask(RESET, user.email)

    by_phone = [ask(RESET, user.phone_number) for _ in range(6)]
    by_an_unknown_phone = [ask(RESET, "0799999999") for _ in range(6)]

    assert statuses(*by_phone) == statuses(*by_an_unknown_phone) == [202] * 5 + [429]


def test_codes_to_one_contact_are_limited_over_all_identifiers(texts):
    user = UserFactory()
    for n, name in enumerate([user.username, user.email, user.phone_number] * 5):
        ask(RESET, name, ip=f"10.0.{n}.1")

    look_up()

    assert OneTimeCode.objects.filter(user=user).count() == one_time_codes.CODES_FROM_EVERYWHERE


def test_strangers_delay_a_reset_by_an_hour_at_most():
    user = UserFactory()
    began = now()

    def may_ask(ip, at):
        try:
            one_time_codes.count_code(user.email, CodePurpose.RESET, Caller(ip=ip), at)
            return True
        except TooMany:
            return False

    for n in range(40):
        may_ask(f"10.0.{n}.1", began)

    assert not may_ask("10.1.0.1", began)
    assert may_ask("10.1.0.1", began + timedelta(hours=1, seconds=1))


def test_one_place_gets_five_codes_an_hour_and_ten_a_day():
    began, hour = now(), timedelta(hours=1, seconds=1)

    def may_ask(at):
        try:
            one_time_codes.count_code("asha@example.com", CodePurpose.RESET, Caller(ip="10.0.0.1"), at)
            return True
        except TooMany:
            return False

    assert [sum(may_ask(began + n * hour) for _ in range(7)) for n in range(4)] == [5, 5, 0, 0]
    assert may_ask(began + timedelta(days=1, seconds=1))


def test_strangers_do_not_delay_a_reset_in_a_known_browser():
    user = UserFactory()
    known = browser()
    known.cookies["Device"] = logged_in_as(user).cookies["Device"].value
    for n in range(20):
        ask(RESET, user.email, ip=f"10.0.0.{n}")

    assert ask(RESET, user.email, client=known).status_code == 202


def test_strangers_registration_does_not_end_the_owners_open_one():
    person = UserFactory(
        first_name="Amina",
        last_name="Bakari",
        email="amina@example.com",
        phone_number=None,
        password=None,
        **UNVERIFIED,
    )
    ask(REGISTER, person.email)
    code = code_in_mail()
    ask(REGISTER, person.email, ip="10.0.0.2", password="the-strangers-own")
    look_up()

    assert verify(person.email, code).status_code == 200
    person.refresh_from_db()
    assert person.check_password(PASSWORD)


def test_a_guess_is_held_against_one_code():
    for n in range(4):
        ask(REGISTER, "asha@example.com", first_name=f"Amina{'abcd'[n]}", password=f"{PASSWORD}-{n}")
    look_up()
    OneTimeCode.objects.update(code_hash=one_time_codes.hash_of("123456"))

    verify("asha@example.com", "000000", f"{PASSWORD}-1")

    assert list(OneTimeCode.objects.order_by("id").values_list("attempts", flat=True)) == [0, 1, 0, 0]
    assert verify("asha@example.com", "123456", f"{PASSWORD}-2").status_code == 200


def test_code_of_another_registration_does_not_verify():
    ask(REGISTER, "asha@example.com", first_name="Asha", password="the-strangers-own")
    strangers = code_in_mail()
    ask(REGISTER, "asha@example.com")
    code_in_mail()

    assert verify("asha@example.com", strangers).status_code == 400


@pytest.mark.parametrize("path", [RESET, RESEND, REGISTER])
def test_requests_are_limited_per_place(settings, path):
    settings.UNPROVED_CODES_PER_PLACE = 3

    answers = [ask(path, f"nobody{n}@example.com", ip=f"2001:db8::{n}") for n in range(4)]

    assert statuses(*answers) == [202] * 3 + [429]


def test_proved_codes_are_not_counted_for_their_place(settings):
    settings.UNPROVED_CODES_PER_PLACE = 2
    for n in range(4):
        email = f"member{n}@example.com"
        assert ask(REGISTER, email, ip="127.0.0.1").status_code == 202
        assert verify(email, code_in_mail()).status_code == 200


def test_phone_changes_are_limited_per_place(settings):
    settings.UNPROVED_CODES_PER_PLACE = 3
    clients = [logged_in_as(UserFactory()) for _ in range(4)]

    answers = [
        client.post(f"{AUTH}phone/change/", {"phone_number": f"07111111{n:02d}"}) for n, client in enumerate(clients)
    ]

    assert statuses(*answers) == [202] * 3 + [429]


def test_audit_of_a_reset_has_the_address_of_its_request():
    user = UserFactory(phone_number=None)
    ask(RESET, user.email, ip="10.0.0.7")
    work()

    event = SecurityEvent.objects.get(event="password_reset_requested")
    assert (event.user, event.ip) == (user, "10.0.0.7")


def test_job_of_a_request_names_no_contact():
    ask(REGISTER, "asha@example.com")

    job = ProcrastinateJob.objects.get(task_name="accounts.answer_code_request")
    assert job.args == {"code_id": OneTimeCode.objects.get().pk}


def test_repeated_job_creates_one_member():
    ask(REGISTER, "asha@example.com")

    work()
    work()

    assert CustomUser.objects.count() == 1
