"""Notices about changes of a user's access."""

from datetime import timedelta

import pytest
from django.core import mail

from accounts.models import LoginSession, Notice, NoticeKind
from accounts.services import notices
from accounts.tests.factories import PASSWORD, UserFactory
from accounts.tests.worker import work
from api.clock import now
from api.roles import Role
from api.tests.clients import browser, logged_in_as

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("texts")]

AUTH = "/api/v1/auth/"
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:{0}.0) Gecko/20100101 Firefox/{0}.0"


def kinds():
    return list(Notice.objects.order_by("id").values_list("kind", flat=True))


def log_in(user, user_agent):
    client = browser()
    body = {"identifier": user.username, "password": PASSWORD}
    assert client.post(f"{AUTH}login/", body, HTTP_USER_AGENT=user_agent).status_code == 200


def test_notice_states_event_and_time_and_prefers_the_phone(texts):
    user = UserFactory(phone_number="254711111111")
    at = now().replace(month=3, day=5, hour=9, minute=30)

    notices.create(user=user, kind=NoticeKind.PASSWORD_CHANGED, now=at)
    work()

    assert texts == [
        (
            "254711111111",
            "On 05 Mar at 12:30 the password of your Kilabu Fitness account was changed."
            " If this was not you, change your password and tell the club.",
        )
    ]
    assert Notice.objects.get().sent_at is not None


def test_notice_goes_to_the_only_verified_email(texts):
    notices.create(user=UserFactory(phone_verified_at=None), kind=NoticeKind.PASSWORD_CHANGED, now=now())
    work()

    assert (texts, len(mail.outbox)) == ([], 1)


def test_user_without_verified_contact_gets_no_notice():
    user = UserFactory(phone_verified_at=None, email_verified_at=None)

    notices.create(user=user, kind=NoticeKind.PASSWORD_CHANGED, now=now())

    assert kinds() == []


def test_every_notice_kind_has_a_text():
    assert set(notices.TEXTS) == set(NoticeKind) - {NoticeKind.ORDER_EXPIRED}  # it has a text of its own


def test_notice_limit_does_not_block_the_change():
    user = UserFactory()

    for _ in range(notices.NOTICES_PER_CONTACT + 2):
        notices.create(user=user, kind=NoticeKind.EMAIL_CHANGED, now=now())

    assert user.notices.count() == notices.NOTICES_PER_CONTACT


def test_repeated_job_sends_a_notice_once():
    user = UserFactory(phone_number=None)
    notices.create(user=user, kind=NoticeKind.EMAIL_CHANGED, now=now())

    work()
    work()

    assert len(mail.outbox) == 1


def test_password_change_sends_a_notice():
    client = logged_in_as(UserFactory())

    client.post(f"{AUTH}password/change/", {"current": PASSWORD, "new": "another-long-password"})

    assert kinds() == ["password_changed"]


def test_reused_refresh_token_sends_one_notice():
    client = logged_in_as(UserFactory())
    first = client.cookies["Refresh"].value
    client.post(f"{AUTH}refresh/")
    LoginSession.objects.update(rotated_at=now() - timedelta(minutes=1))

    for _ in range(2):
        client.cookies["Refresh"] = first
        client.post(f"{AUTH}refresh/")

    assert kinds() == ["session_copied"]


def test_only_a_new_kind_of_browser_sends_a_notice():
    user = UserFactory()

    log_in(user, FIREFOX.format(140))
    log_in(user, FIREFOX.format(141))
    at_first = kinds()
    log_in(user, "curl/8.5.0")

    assert at_first == []
    assert kinds() == ["new_device"]


def test_new_browser_notices_can_be_switched_off(settings):
    settings.LOGIN_NOTICES = False
    user = UserFactory()

    log_in(user, FIREFOX.format(140))
    log_in(user, "curl/8.5.0")

    assert kinds() == []


def test_password_change_ends_open_reset_codes(texts):
    user = UserFactory()
    client = logged_in_as(user)
    browser().post(f"{AUTH}password/reset/", {"identifier": user.username})
    work()
    (code,) = [text.split()[0] for _, text in texts]

    client.post(f"{AUTH}password/change/", {"current": PASSWORD, "new": "another-long-password"})
    answer = browser().post(
        f"{AUTH}password/reset/confirm/", {"identifier": user.username, "code": code, "password": "taken-over-now"}
    )

    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_or_expired_key")


@pytest.mark.parametrize(
    ("change", "kind", "to"),
    [
        ({"password": "given-by-the-desk"}, "password_changed", "254711111111"),
        ({"phone_number": "0722222222"}, "phone_changed", "254711111111"),
        ({"email": "new@example.com"}, "email_changed", "old@example.com"),
    ],
)
def test_change_by_staff_is_notified_at_the_old_contact(change, kind, to):
    person = UserFactory(phone_number="254711111111", email="old@example.com")

    logged_in_as(UserFactory(role=Role.RECEPTIONIST)).patch(f"/api/v1/users/{person.pk}/", change)

    assert list(Notice.objects.values_list("kind", "address")) == [(kind, to)]
