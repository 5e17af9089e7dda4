"""Setup of the second factor: add and remove an app, and replace recovery codes."""

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


def set_up(client):
    """Set up the caller's second factor; return the device and the recovery codes."""
    client.post(f"{AUTH}mfa/totp/")
    device = Authenticator.objects.latest("id")
    answer = client.post(f"{AUTH}mfa/totp/confirm/", {"code": code_of(device)})
    assert answer.status_code == 200, answer.content
    return device, answer.json()["data"]["recovery_codes"]


def events():
    return list(SecurityEvent.objects.order_by("id").values_list("event", "outcome"))


def test_setup_returns_the_secret_once(settings):
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


def test_unconfirmed_app_is_not_asked_for_at_login():
    user = UserFactory()
    logged_in_as(user).post(f"{AUTH}mfa/totp/")

    assert logged_in_as(user).get(f"{AUTH}me/").status_code == 200


def test_second_begin_replaces_the_secret():
    client = logged_in_as(UserFactory())

    first, second = (client.post(f"{AUTH}mfa/totp/").json()["data"]["secret"] for _ in range(2))

    assert first != second
    assert Authenticator.objects.count() == 1


def test_confirmation_returns_the_recovery_codes_once():
    user = UserFactory()
    _, codes = set_up(logged_in_as(user))

    asked_for_a_code(user)
    assert len(set(codes)) == 10
    assert all(len(code) == 11 and code[5] == "-" for code in codes)
    assert ("mfa_enrolled", "ok") in events()
    assert list(Notice.objects.values_list("kind", flat=True)) == ["second_factor_added"]


def test_confirmation_ends_other_sessions_and_updates_this_one():
    user = UserFactory()
    other, client = logged_in_as(user), logged_in_as(user)

    set_up(client)

    assert error_of(other.get(f"{AUTH}me/")) == (401, "session_revoked")
    assert client.get(f"{AUTH}me/").status_code == 200
    assert LoginSession.objects.get(revoked_at=None).amr == ["pwd", "otp"]


def test_profile_shows_whether_a_second_factor_is_on():
    client = logged_in_as(UserFactory())
    seen = [client.get(f"{AUTH}me/").json()["data"]["has_second_factor"]]

    device, codes = set_up(client)
    seen.append(client.get(f"{AUTH}me/").json()["data"]["has_second_factor"])
    again = asked_for_a_code(device.user).post(f"{AUTH}mfa/recovery/", {"code": codes[0]})
    seen.append(again.json()["data"]["user"]["has_second_factor"])
    client.delete(f"{AUTH}mfa/totp/")
    seen.append(client.get(f"{AUTH}me/").json()["data"]["has_second_factor"])

    assert seen == [False, True, True, False]


@pytest.mark.parametrize("act", ["confirm", "remove"])
def test_ended_session_cannot_change_the_second_factor(act):
    user = UserFactory()
    client = logged_in_as(user)
    device = set_up(client)[0] if act == "remove" else two_factor_setup.begin(user=user, now=now())
    session = LoginSession.objects.get()
    client.post(f"{AUTH}logout/")
    about = {"user": user, "session": session, "caller": Caller(), "now": now()}

    with pytest.raises(SessionRevoked):
        two_factor_setup.confirm(**about, code=code_of(device)) if act == "confirm" else two_factor_setup.remove(
            **about
        )

    assert Authenticator.objects.get().confirmed == (act == "remove")


def test_ended_session_gets_no_recovery_codes():
    client = logged_in_as(UserFactory())
    _, codes = set_up(client)
    session = LoginSession.objects.get()
    client.post(f"{AUTH}logout/")

    with pytest.raises(SessionRevoked):
        two_factor_setup.renew_recovery_codes(user=session.user, session=session, caller=Caller(), now=now())

    assert StaticToken.objects.count() == len(codes)


def test_confirmation_code_cannot_log_in():
    user = UserFactory()
    client = logged_in_as(user)
    client.post(f"{AUTH}mfa/totp/")
    code = code_of(Authenticator.objects.get())
    client.post(f"{AUTH}mfa/totp/confirm/", {"code": code})

    answer = asked_for_a_code(user).post(f"{AUTH}mfa/verify/", {"code": code})

    assert error_of(answer) == (401, "mfa_invalid")


def test_wrong_code_does_not_confirm_the_app():
    client = logged_in_as(UserFactory())
    client.post(f"{AUTH}mfa/totp/")

    answer = client.post(f"{AUTH}mfa/totp/confirm/", {"code": wrong_code(Authenticator.objects.get())})

    assert error_of(answer) == (400, "mfa_invalid")
    assert Authenticator.objects.get().confirmed is False
    assert events()[-1] == ("mfa_enrolled", "refused")
    assert client.get(f"{AUTH}me/").status_code == 200


def test_codes_of_a_confirmation_are_limited(monkeypatch):
    monkeypatch.setattr(two_factor, "CODES_PER_PERSON", 2)
    client = logged_in_as(UserFactory())
    client.post(f"{AUTH}mfa/totp/")
    device = Authenticator.objects.get()
    for _ in range(2):
        client.post(f"{AUTH}mfa/totp/confirm/", {"code": wrong_code(device)})

    answer = client.post(f"{AUTH}mfa/totp/confirm/", {"code": code_of(device)})

    assert error_of(answer) == (429, "throttled")


def test_confirmation_without_begin_is_a_conflict():
    answer = logged_in_as(UserFactory()).post(f"{AUTH}mfa/totp/confirm/", {"code": "123456"})

    assert error_of(answer) == (409, "mfa_not_enrolled")


def test_second_app_is_refused_while_one_is_confirmed():
    client = logged_in_as(UserFactory())
    set_up(client)

    answer = client.post(f"{AUTH}mfa/totp/")

    assert error_of(answer) == (409, "mfa_already_enrolled")
    assert Authenticator.objects.get().confirmed is True


def test_removal_deletes_app_and_codes_and_ends_other_sessions():
    user = UserFactory()
    client = logged_in_as(user)
    device, _ = set_up(client)
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


def test_new_recovery_codes_replace_the_old_ones():
    user = UserFactory()
    client = logged_in_as(user)
    _, old = set_up(client)

    answer = client.post(f"{AUTH}mfa/recovery-codes/")

    new = answer.json()["data"]["recovery_codes"]
    assert answer.status_code == 201
    assert not set(old) & set(new)
    assert error_of(asked_for_a_code(user).post(f"{AUTH}mfa/recovery/", {"code": old[0]})) == (401, "mfa_invalid")
    assert events()[-2] == ("recovery_codes_renewed", "ok")


def test_recovery_codes_need_a_second_factor():
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
def test_setup_calls_require_a_session_and_a_fresh_login(method, path):
    stale = logged_in_as(UserFactory())
    LoginSession.objects.update(auth_time=now() - settings.FRESH_LOGIN_LIFETIME - timedelta(seconds=1))

    refused = getattr(stale, method)(f"{AUTH}{path}", {"code": "123456"})
    stranger = getattr(browser(), method)(f"{AUTH}{path}", {"code": "123456"})

    assert error_of(refused) == (401, "reauth_required")
    assert error_of(stranger) == (401, "not_authenticated")


def test_database_stores_the_secret_encrypted():
    user = UserFactory()
    device = authenticator_of(user)

    kept = TOTPDevice.objects.get().key
    assert device.bin_key.hex() not in kept
    assert seals.open_seal(kept, owner=user.pk) == device.bin_key


def test_encrypted_secret_opens_only_for_its_owner():
    sealed = seals.seal(b"secret", owner=1)

    with pytest.raises(seals.SealBroken):
        seals.open_seal(sealed, owner=2)


def test_encrypted_secret_does_not_open_under_another_secret_key(settings):
    sealed = seals.seal(b"secret", owner=1)
    settings.SECRET_KEY = "k" * 50

    with pytest.raises(seals.SealBroken):
        seals.open_seal(sealed, owner=1)


def test_staff_remove_the_second_factor_of_a_lost_phone():
    user, staff = UserFactory(), UserFactory()
    client = logged_in_as(user)
    set_up(client)

    two_factor_setup.remove(user=user, session=None, actor=staff, caller=Caller(), now=now())

    event = SecurityEvent.objects.get(event="mfa_removed")
    assert (event.user, event.actor) == (user, staff)
    assert not two_factor.has_second_factor(user)
    assert error_of(client.get(f"{AUTH}me/")) == (401, "session_revoked")
