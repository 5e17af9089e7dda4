"""Login with a second factor."""

from datetime import timedelta

import pytest
from django.core import signing
from django.test import override_settings

from accounts.models import CustomUser, LoginSession, Notice, PendingLogin, SecurityEvent
from accounts.services import two_factor
from accounts.tests.authenticators import AUTH, asked_for_a_code, authenticator_of, code_of, wrong_code
from accounts.tests.factories import PASSWORD, UserFactory
from api.clock import now
from api.tests.clients import browser

pytestmark = pytest.mark.django_db


@pytest.fixture
def user():
    return UserFactory()


@pytest.fixture
def device(user):
    return authenticator_of(user)


def error_of(answer):
    return answer.status_code, answer.json()["error"]["code"]


def test_correct_password_returns_a_challenge(user, device):
    answer = browser().post(f"{AUTH}login/", {"identifier": user.username, "password": PASSWORD})

    assert answer.status_code == 200
    assert answer.json()["data"] == {"mfa_required": True, "methods": ["totp"]}
    assert list(answer.cookies) == ["MfaPending"]
    assert not LoginSession.objects.exists()


def test_pending_cookie_is_short_lived_and_limited_to_mfa_urls(user, device):
    answer = browser().post(f"{AUTH}login/", {"identifier": user.username, "password": PASSWORD})

    cookie = answer.cookies["MfaPending"]
    assert {name: cookie[name] for name in ("path", "max-age", "httponly", "secure", "samesite", "domain")} == {
        "path": "/api/v1/auth/mfa/",
        "max-age": 300,
        "httponly": True,
        "secure": True,
        "samesite": "Strict",
        "domain": "",
    }


def test_code_of_the_app_finishes_the_login(user, device):
    client = asked_for_a_code(user)

    answer = client.post(f"{AUTH}mfa/verify/", {"code": code_of(device)})

    assert answer.status_code == 200
    assert answer.json()["data"]["user"]["id"] == user.pk
    assert set(answer.json()["data"]) == {"user", "csrf_token"}
    assert {name: bool(cookie.value) for name, cookie in answer.cookies.items()} == {
        "Authentication": True,
        "Refresh": True,
        "csrftoken": True,
        "MfaPending": False,
        "Device": True,
    }
    assert LoginSession.objects.get().amr == ["pwd", "otp"]
    assert client.get(f"{AUTH}me/").status_code == 200


def test_correct_code_works_after_a_wrong_one(user, device):
    client = asked_for_a_code(user)

    wrong = client.post(f"{AUTH}mfa/verify/", {"code": wrong_code(device)})
    right = client.post(f"{AUTH}mfa/verify/", {"code": code_of(device)})

    assert error_of(wrong) == (401, "mfa_invalid")
    assert right.status_code == 200


def test_code_of_the_app_works_once(user, device):
    code = code_of(device)
    asked_for_a_code(user).post(f"{AUTH}mfa/verify/", {"code": code})

    again = asked_for_a_code(user).post(f"{AUTH}mfa/verify/", {"code": code})

    assert error_of(again) == (401, "mfa_invalid")


def test_pending_login_works_once(user, device):
    client = asked_for_a_code(user)
    pending = client.cookies["MfaPending"].value
    client.post(f"{AUTH}mfa/verify/", {"code": code_of(device)})

    client.cookies["MfaPending"] = pending
    again = client.post(f"{AUTH}mfa/verify/", {"code": code_of(device, later=1)})

    assert error_of(again) == (401, "mfa_expired")
    assert LoginSession.objects.count() == 1


def test_pending_login_expires_after_five_minutes(user, device):
    client = asked_for_a_code(user)
    PendingLogin.objects.update(expires_at=now() - timedelta(seconds=1))

    answer = client.post(f"{AUTH}mfa/verify/", {"code": code_of(device)})

    assert error_of(answer) == (401, "mfa_expired")
    assert answer["WWW-Authenticate"] == 'Cookie realm="api"'
    assert answer.cookies["MfaPending"].value == ""


def test_pending_login_works_within_five_minutes(user, device):
    asked_for_a_code(user)

    pending = PendingLogin.objects.get()
    assert pending.expires_at - pending.created_at == timedelta(minutes=5)


def test_pending_login_ends_after_five_wrong_codes(user, device):
    client = asked_for_a_code(user)
    for _ in range(5):
        client.post(f"{AUTH}mfa/verify/", {"code": wrong_code(device)})

    answer = client.post(f"{AUTH}mfa/verify/", {"code": code_of(device)})

    assert error_of(answer) == (401, "mfa_expired")


@pytest.mark.parametrize(
    "cookie", [None, "x", "00000000-0000-4000-8000-000000000000", signing.Signer(salt="other").sign("x")]
)
def test_foreign_pending_cookie_is_expired(cookie):
    client = browser()
    if cookie:
        client.cookies["MfaPending"] = cookie

    answer = client.post(f"{AUTH}mfa/verify/", {"code": "123456"})

    assert error_of(answer) == (401, "mfa_expired")


def test_pending_cookie_needs_a_valid_signature(user, device):
    client = asked_for_a_code(user)
    client.cookies["MfaPending"] = str(PendingLogin.objects.get().pk)

    answer = client.post(f"{AUTH}mfa/verify/", {"code": code_of(device)})

    assert error_of(answer) == (401, "mfa_expired")


@pytest.mark.parametrize("code", ["", "12345", "1234567", "12 456", "abcdef", "１２３４５６"])  # noqa: RUF001
def test_malformed_code_is_a_validation_error(user, device, code):
    answer = asked_for_a_code(user).post(f"{AUTH}mfa/verify/", {"code": code})

    assert error_of(answer) == (400, "validation_error")


def test_wrong_codes_are_limited_across_logins(user, device):
    for _ in range(10):
        asked_for_a_code(user).post(f"{AUTH}mfa/verify/", {"code": wrong_code(device)})

    answer = asked_for_a_code(user).post(f"{AUTH}mfa/verify/", {"code": code_of(device)})

    assert error_of(answer) == (429, "throttled")
    assert 1 <= int(answer["Retry-After"]) <= 60 * 60
    assert not LoginSession.objects.exists()


def test_wrong_codes_by_strangers_do_not_lock_a_known_browser_out(user, device):
    client = asked_for_a_code(user)
    client.post(f"{AUTH}mfa/verify/", {"code": code_of(device)})
    for _ in range(16):
        asked_for_a_code(user).post(f"{AUTH}mfa/verify/", {"code": wrong_code(device)})

    client.post(f"{AUTH}login/", {"identifier": user.username, "password": PASSWORD})

    assert client.post(f"{AUTH}mfa/verify/", {"code": code_of(device, later=1)}).status_code == 200


def test_logout_ends_the_users_pending_logins(user, device):
    client = asked_for_a_code(user)
    client.post(f"{AUTH}mfa/verify/", {"code": code_of(device)})
    client.post(f"{AUTH}login/", {"identifier": user.username, "password": PASSWORD})
    pending = client.cookies["MfaPending"].value

    cleared = client.post(f"{AUTH}logout/").cookies["MfaPending"].value
    client.cookies["MfaPending"] = pending
    late = client.post(f"{AUTH}mfa/verify/", {"code": code_of(device, later=1)})

    assert cleared == ""
    assert error_of(late) == (401, "mfa_expired")


def test_deactivated_user_cannot_finish_a_login(user, device):
    client = asked_for_a_code(user)
    CustomUser.objects.update(is_active=False)

    answer = client.post(f"{AUTH}mfa/verify/", {"code": code_of(device)})

    assert error_of(answer) == (401, "mfa_expired")


def test_logout_all_ends_pending_logins(user, device):
    inside, client = asked_for_a_code(user), asked_for_a_code(user)
    inside.post(f"{AUTH}mfa/verify/", {"code": code_of(device)})

    inside.post(f"{AUTH}logout-all/", {"keep_current": True})

    answer = client.post(f"{AUTH}mfa/verify/", {"code": code_of(device, later=1)})
    assert error_of(answer) == (401, "mfa_expired")


def test_recovery_code_works_once_and_sends_a_notice(user, device):
    code, *_ = two_factor.replace_recovery_codes(user)
    client = browser()
    asked = client.post(f"{AUTH}login/", {"identifier": user.username, "password": PASSWORD})

    first = client.post(f"{AUTH}mfa/recovery/", {"code": code.upper().replace("-", " ")})
    again = asked_for_a_code(user).post(f"{AUTH}mfa/recovery/", {"code": code})

    assert asked.json()["data"]["methods"] == ["totp", "recovery"]
    assert first.status_code == 200
    assert error_of(again) == (401, "mfa_invalid")
    assert list(Notice.objects.values_list("kind", flat=True)) == ["recovery_code_used"]


def test_recovery_code_of_another_user_is_wrong(user, device):
    two_factor.replace_recovery_codes(user)
    code, *_ = two_factor.replace_recovery_codes(UserFactory())

    answer = asked_for_a_code(user).post(f"{AUTH}mfa/recovery/", {"code": code})

    assert error_of(answer) == (401, "mfa_invalid")


def test_recovery_codes_are_stored_as_hashes(user):
    codes = two_factor.replace_recovery_codes(user)

    kept = set(two_factor.StaticToken.objects.values_list("token", flat=True))
    assert len(set(codes)) == len(kept) == 10
    assert not kept & {code.replace("-", "") for code in codes}


def test_secrets_of_a_fallback_secret_key_still_work(user, device):
    code, *_ = two_factor.replace_recovery_codes(user)

    with override_settings(SECRET_KEY="k" * 50, SECRET_KEY_FALLBACKS=[two_factor.settings.SECRET_KEY]):
        by_app = asked_for_a_code(user).post(f"{AUTH}mfa/verify/", {"code": code_of(device)})
        by_recovery = asked_for_a_code(user).post(f"{AUTH}mfa/recovery/", {"code": code})
    with override_settings(SECRET_KEY="k" * 50, SECRET_KEY_FALLBACKS=[]):
        device.refresh_from_db()
        secret = device.bin_key

    assert [by_app.status_code, by_recovery.status_code] == [200, 200]
    assert secret == bytes(range(20))


def test_audit_names_the_method_of_a_login(user, device):
    client = asked_for_a_code(user)
    client.post(f"{AUTH}mfa/verify/", {"code": wrong_code(device)})
    client.post(f"{AUTH}mfa/verify/", {"code": code_of(device)})

    events = SecurityEvent.objects.filter(user=user).order_by("id").values_list("event", "outcome", "detail")
    assert list(events) == [
        ("second_factor", "refused", {"method": "totp"}),
        ("second_factor", "ok", {"method": "totp"}),
        ("login", "ok", {}),
    ]


def test_wrong_password_returns_no_challenge(user, device):
    answer = browser().post(f"{AUTH}login/", {"identifier": user.username, "password": "wrong-password"})

    assert error_of(answer) == (401, "invalid_credentials")
    assert "MfaPending" not in answer.cookies
