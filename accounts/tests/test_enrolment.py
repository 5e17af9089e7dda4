"""Turning the second factor on and off."""

from datetime import timedelta
from urllib.parse import parse_qs, urlsplit

import pytest
from django.conf import settings
from django_otp.plugins.otp_static.models import StaticToken
from django_otp.plugins.otp_totp.models import TOTPDevice

from accounts import seals
from accounts.models import Authenticator, LoginSession, Notice, SecurityEvent
from accounts.services import two_factor, two_factor_setup
from accounts.services.audit import Caller
from accounts.tests.authenticators import AUTH, asked_for_a_code, authenticator_of, code_of, wrong_code
from accounts.tests.factories import UserFactory
from api.authentication import SessionRevoked
from api.clock import now
from api.tests.clients import browser, logged_in_as

pytestmark = pytest.mark.django_db


def error_of(answer):
    return answer.status_code, answer.json()["error"]["code"]


def enrolled(client):
    """Turn the caller's second factor on; return the device and its recovery codes."""
    client.post(f"{AUTH}mfa/totp/")
    device = Authenticator.objects.latest("id")
    answer = client.post(f"{AUTH}mfa/totp/confirm/", {"code": code_of(device)})
    assert answer.status_code == 200, answer.content
    return device, answer.json()["data"]["recovery_codes"]


def events():
    return list(SecurityEvent.objects.order_by("id").values_list("event", "outcome"))


def test_beginning_tells_the_secret_once_for_the_app(settings):
    settings.OTP_TOTP_ISSUER = "Kilabu Fitness"
    client = logged_in_as(UserFactory(username="asha"))

    answer = client.post(f"{AUTH}mfa/totp/")

    uri = urlsplit(answer.json()["data"]["otpauth_uri"])
    assert answer.status_code == 201
    assert set(answer.json()["data"]) == {"otpauth_uri", "secret"}
    assert (uri.scheme, uri.netloc, uri.path) == ("otpauth", "totp", "/Kilabu%20Fitness%3Aasha")
    assert parse_qs(uri.query) == {
        "secret": [answer.json()["data"]["secret"]],
        "algorithm": ["SHA1"],
        "digits": ["6"],
        "period": ["30"],
        "issuer": ["Kilabu Fitness"],
    }
    assert answer["Cache-Control"] == "no-store"


def test_what_was_begun_asks_for_nothing_until_it_is_confirmed():
    user = UserFactory()
    logged_in_as(user).post(f"{AUTH}mfa/totp/")

    assert logged_in_as(user).get(f"{AUTH}me/").status_code == 200


def test_beginning_again_draws_another_secret():
    client = logged_in_as(UserFactory())

    first, second = (client.post(f"{AUTH}mfa/totp/").json()["data"]["secret"] for _ in range(2))

    assert first != second
    assert Authenticator.objects.count() == 1


def test_a_code_of_the_app_turns_it_on_and_recovery_codes_are_told_once():
    user = UserFactory()
    _, codes = enrolled(logged_in_as(user))

    asked_for_a_code(user)
    assert len(set(codes)) == 10
    assert all(len(code) == 11 and code[5] == "-" for code in codes)
    assert ("mfa_enrolled", "ok") in events()
    assert list(Notice.objects.values_list("kind", flat=True)) == ["second_factor_added"]


def test_turning_it_on_ends_the_other_sessions_and_strengthens_this_one():
    user = UserFactory()
    other, client = logged_in_as(user), logged_in_as(user)

    enrolled(client)

    assert error_of(other.get(f"{AUTH}me/")) == (401, "session_revoked")
    assert client.get(f"{AUTH}me/").status_code == 200
    assert LoginSession.objects.get(revoked_at=None).amr == ["pwd", "otp"]


def test_one_sees_of_oneself_whether_a_second_factor_is_on():
    client = logged_in_as(UserFactory())
    seen = [client.get(f"{AUTH}me/").json()["data"]["has_second_factor"]]

    device, codes = enrolled(client)
    seen.append(client.get(f"{AUTH}me/").json()["data"]["has_second_factor"])
    again = asked_for_a_code(device.user).post(f"{AUTH}mfa/recovery/", {"code": codes[0]})
    seen.append(again.json()["data"]["user"]["has_second_factor"])
    client.delete(f"{AUTH}mfa/totp/")
    seen.append(client.get(f"{AUTH}me/").json()["data"]["has_second_factor"])

    assert seen == [False, True, True, False]


@pytest.mark.parametrize("act", ["confirm", "remove"])
def test_a_session_that_ended_since_the_request_began_changes_no_second_factor(act):
    user = UserFactory()
    client = logged_in_as(user)
    device = enrolled(client)[0] if act == "remove" else two_factor_setup.begin(user=user, now=now())
    session = LoginSession.objects.get()
    client.post(f"{AUTH}logout/")
    about = {"user": user, "session": session, "caller": Caller(), "now": now()}

    with pytest.raises(SessionRevoked):
        two_factor_setup.confirm(**about, code=code_of(device)) if act == "confirm" else two_factor_setup.remove(
            **about
        )

    assert Authenticator.objects.get().confirmed == (act == "remove")


def test_a_session_that_ended_since_the_request_began_is_told_no_recovery_codes():
    client = logged_in_as(UserFactory())
    _, codes = enrolled(client)
    session = LoginSession.objects.get()
    client.post(f"{AUTH}logout/")

    with pytest.raises(SessionRevoked):
        two_factor_setup.renew_recovery_codes(user=session.user, session=session, caller=Caller(), now=now())

    assert StaticToken.objects.count() == len(codes)


def test_the_code_that_confirmed_logs_nobody_in():
    user = UserFactory()
    client = logged_in_as(user)
    client.post(f"{AUTH}mfa/totp/")
    code = code_of(Authenticator.objects.get())
    client.post(f"{AUTH}mfa/totp/confirm/", {"code": code})

    answer = asked_for_a_code(user).post(f"{AUTH}mfa/verify/", {"code": code})

    assert error_of(answer) == (401, "mfa_invalid")


def test_a_wrong_code_confirms_nothing_and_ends_no_session():
    client = logged_in_as(UserFactory())
    client.post(f"{AUTH}mfa/totp/")

    answer = client.post(f"{AUTH}mfa/totp/confirm/", {"code": wrong_code(Authenticator.objects.get())})

    assert error_of(answer) == (400, "mfa_invalid")
    assert Authenticator.objects.get().confirmed is False
    assert events()[-1] == ("mfa_enrolled", "refused")
    assert client.get(f"{AUTH}me/").status_code == 200


def test_guessing_at_the_confirmation_waits_too():
    client = logged_in_as(UserFactory())
    client.post(f"{AUTH}mfa/totp/")
    Authenticator.objects.update(throttling_failure_count=9, throttling_failure_timestamp=now())

    answer = client.post(f"{AUTH}mfa/totp/confirm/", {"code": code_of(Authenticator.objects.get())})

    assert error_of(answer) == (429, "throttled")


def test_there_is_nothing_to_confirm_before_it_was_begun():
    answer = logged_in_as(UserFactory()).post(f"{AUTH}mfa/totp/confirm/", {"code": "123456"})

    assert error_of(answer) == (409, "mfa_not_enrolled")


def test_a_second_app_does_not_push_out_the_first():
    client = logged_in_as(UserFactory())
    enrolled(client)

    answer = client.post(f"{AUTH}mfa/totp/")

    assert error_of(answer) == (409, "mfa_already_enrolled")
    assert Authenticator.objects.get().confirmed is True


def test_removing_it_forgets_all_of_it_and_ends_the_other_sessions():
    user = UserFactory()
    client = logged_in_as(user)
    device, _ = enrolled(client)
    other = asked_for_a_code(user)
    other.post(f"{AUTH}mfa/verify/", {"code": code_of(device, later=1)})

    answers = [client.delete(f"{AUTH}mfa/totp/"), client.delete(f"{AUTH}mfa/totp/")]

    assert [answer.status_code for answer in answers] == [204, 204]
    assert (Authenticator.objects.count(), StaticToken.objects.count()) == (0, 0)
    assert error_of(other.get(f"{AUTH}me/")) == (401, "session_revoked")
    assert logged_in_as(user).get(f"{AUTH}me/").status_code == 200
    assert events().count(("mfa_removed", "ok")) == 1
    assert list(Notice.objects.values_list("kind", flat=True)) == ["second_factor_added", "second_factor_removed"]
    assert LoginSession.objects.get(pk=LoginSession.objects.order_by("created_at").first().pk).amr == ["pwd"]


def test_new_recovery_codes_end_the_old_ones():
    user = UserFactory()
    client = logged_in_as(user)
    _, old = enrolled(client)

    answer = client.post(f"{AUTH}mfa/recovery-codes/")

    new = answer.json()["data"]["recovery_codes"]
    assert answer.status_code == 201
    assert not set(old) & set(new)
    assert error_of(asked_for_a_code(user).post(f"{AUTH}mfa/recovery/", {"code": old[0]})) == (401, "mfa_invalid")
    assert events()[-2] == ("recovery_codes_renewed", "ok")


def test_without_a_second_factor_there_are_no_recovery_codes():
    answer = logged_in_as(UserFactory()).post(f"{AUTH}mfa/recovery-codes/")

    assert error_of(answer) == (409, "mfa_not_enrolled")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("post", "mfa/totp/"),
        ("post", "mfa/totp/confirm/"),
        ("delete", "mfa/totp/"),
        ("post", "mfa/recovery-codes/"),
    ],
)
def test_each_of_these_asks_for_a_session_and_a_fresh_login(method, path):
    stale = logged_in_as(UserFactory())
    LoginSession.objects.update(auth_time=now() - settings.FRESH_LOGIN_LIFETIME - timedelta(seconds=1))

    refused = getattr(stale, method)(f"{AUTH}{path}", {"code": "123456"})
    stranger = getattr(browser(), method)(f"{AUTH}{path}", {"code": "123456"})

    assert error_of(refused) == (401, "reauth_required")
    assert error_of(stranger) == (401, "not_authenticated")


def test_the_database_alone_does_not_tell_the_secret():
    user = UserFactory()
    device = authenticator_of(user)

    kept = TOTPDevice.objects.get().key
    assert device.bin_key.hex() not in kept
    assert seals.open_seal(kept, owner=user.pk) == device.bin_key


def test_a_sealed_secret_opens_for_its_owner_only():
    sealed = seals.seal(b"secret", owner=1)

    with pytest.raises(seals.SealBroken):
        seals.open_seal(sealed, owner=2)


def test_a_sealed_secret_does_not_open_under_another_secret_key(settings):
    sealed = seals.seal(b"secret", owner=1)
    settings.SECRET_KEY = "k" * 50

    with pytest.raises(seals.SealBroken):
        seals.open_seal(sealed, owner=1)


def test_staff_remove_it_for_who_lost_the_phone():
    user, staff = UserFactory(), UserFactory()
    client = logged_in_as(user)
    enrolled(client)

    two_factor_setup.remove(user=user, session=None, actor=staff, caller=Caller(), now=now())

    event = SecurityEvent.objects.get(event="mfa_removed")
    assert (event.user, event.actor) == (user, staff)
    assert not two_factor.has_second_factor(user)
    assert error_of(client.get(f"{AUTH}me/")) == (401, "session_revoked")
