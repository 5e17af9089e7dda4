"""Access tokens and refresh tokens: claims, signatures, keys and expiry."""

import base64
import hmac
import json
import uuid
from datetime import timedelta

import jwt
import pytest
from django.conf import settings

from api import clock, tokens
from api.clock import now

SESSION, PERSON = uuid.UUID(int=7), 42
OLD_KEY, NEW_KEY = "o" * 40, "n" * 40


@pytest.fixture(autouse=True)
def _two_keys(settings):
    settings.JWT_KEYS = {"old": {"alg": "HS256", "key": OLD_KEY}, "new": {"alg": "HS256", "key": NEW_KEY}}
    settings.JWT_ACTIVE_KID = "new"
    tokens.reload_keys()
    yield
    tokens.reload_keys()


def issued(kind=tokens.ACCESS, *, lives=timedelta(minutes=5), **changed):
    about = {"session_id": SESSION, "user_id": PERSON, "auth_time": now(), "amr": ["pwd"], "now": now()}
    return tokens.issue(kind, expires_at=now() + lives, **{**about, **changed})


def base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def forged(*, key=NEW_KEY, digest="sha256", header=None, **claims):
    """Return a forged token: the claims of a real one, changed or (None) removed, with any header and signature."""
    real = jwt.decode(issued(), options={"verify_signature": False})
    payload = {name: value for name, value in {**real, **claims}.items() if value is not None}
    header = {"alg": "HS256", "kid": "new"} if header is None else header
    signed = ".".join(base64url(json.dumps(part).encode()) for part in (header, payload))
    signature = hmac.new(key.encode(), signed.encode(), digest).digest() if key else b""
    return f"{signed}.{base64url(signature)}"


def test_token_has_session_and_generation_but_no_changing_data():
    token = issued(tokens.REFRESH, generation=3)

    claims = jwt.decode(token, options={"verify_signature": False})
    assert set(claims) == {"iss", "aud", "sub", "sid", "jti", "typ", "iat", "nbf", "exp", "auth_time", "amr", "gen"}
    assert (claims["iss"], claims["aud"], claims["typ"]) == (settings.PUBLIC_URL, "kilabu-api", "refresh")
    assert jwt.get_unverified_header(token) == {"alg": "HS256", "typ": "JWT", "kid": "new"}
    assert tokens.read(token, tokens.REFRESH) == tokens.Claims(SESSION, PERSON, 3)


def test_no_two_tokens_are_equal():
    assert issued() != issued()


def test_token_fits_into_a_cookie():
    assert len(f"{settings.AUTH_COOKIE_REFRESH}={issued(tokens.REFRESH, amr=['pwd', 'otp'])}") < 4096


@pytest.mark.parametrize(
    "change",
    [
        {"key": OLD_KEY},
        {"key": "x" * 40},
        {"header": {"alg": "HS256"}},
        {"header": {"alg": "HS256", "kid": "gone"}},
        {"header": {"alg": "HS256", "kid": None}},
        {"header": {"alg": "HS256", "kid": ["new"]}},
        {"header": {"alg": "HS256", "kid": {"new": 1}}},
        {"header": {"alg": "HS512", "kid": "new"}, "digest": "sha512"},
        {"header": {"alg": "none", "kid": "new"}, "key": ""},
        {"header": {"kid": "new"}},
        {"header": {"alg": "HS256", "kid": "new", "crit": ["exp"]}},
        {"header": {"alg": "HS256", "kid": "new", "jku": "https://evil.example/keys"}},
        {"header": {"alg": "HS256", "kid": "new", "jwk": {"kty": "oct", "k": "eA"}}},
        {"header": {"alg": "HS256", "kid": "new", "x5u": "https://evil.example/cert"}},
        {"header": {"alg": "HS256", "kid": "new", "x5c": ["eA"]}},
        {"header": ["HS256", "new"]},
        {"iss": "https://evil.example"},
        {"iss": None},
        {"aud": "another-api"},
        {"aud": None},
        {"typ": "refresh"},
        {"typ": "pending"},
        {"typ": None},
        {"sid": "not-a-uuid"},
        {"sid": None},
        {"sub": "somebody"},
        {"sub": None},
        {"exp": None},
        {"gen": "many"},
        {"gen": []},
    ],
    ids=str,
)
def test_token_with_one_fault_is_invalid(change):
    with pytest.raises(tokens.TokenInvalid):
        tokens.read(forged(**change), tokens.ACCESS)


def test_unchanged_token_is_valid():
    assert tokens.read(forged(), tokens.ACCESS) == tokens.Claims(SESSION, PERSON, 0)


@pytest.mark.parametrize("text", ["", ".", "a.b.c", "é.é.é", "x" * 5000, "\x00", "eyJhbGciOiJub25lIn0.e30."])
def test_other_text_is_no_token(text):
    with pytest.raises(tokens.TokenInvalid):
        tokens.read(text, tokens.ACCESS)


def test_claims_changed_after_signing_are_refused():
    (head, _, signature), (_, other, _) = issued().split("."), issued(user_id=1).split(".")

    with pytest.raises(tokens.TokenInvalid):
        tokens.read(f"{head}.{other}.{signature}", tokens.ACCESS)


@pytest.mark.parametrize("kind", [tokens.ACCESS, tokens.REFRESH])
def test_token_of_the_other_kind_is_refused(kind):
    other = tokens.REFRESH if kind == tokens.ACCESS else tokens.ACCESS

    with pytest.raises(tokens.TokenInvalid):
        tokens.read(issued(kind), other)


def test_clock_difference_within_the_leeway_is_accepted():
    assert tokens.read(issued(lives=timedelta(seconds=-5)), tokens.ACCESS)
    assert tokens.read(issued(now=now() + timedelta(seconds=5)), tokens.ACCESS)


def test_clock_difference_beyond_the_leeway_is_refused():
    with pytest.raises(tokens.TokenExpired):
        tokens.read(issued(lives=timedelta(seconds=-15)), tokens.ACCESS)
    with pytest.raises(tokens.TokenInvalid):
        tokens.read(issued(now=now() + timedelta(seconds=15)), tokens.ACCESS)


def test_inactive_key_verifies_until_it_is_removed(settings):
    settings.JWT_ACTIVE_KID = "old"
    token = issued()
    settings.JWT_ACTIVE_KID = "new"

    assert tokens.read(token, tokens.ACCESS)

    del settings.JWT_KEYS["old"]
    tokens.reload_keys()
    with pytest.raises(tokens.TokenInvalid):
        tokens.read(token, tokens.ACCESS)


def test_cached_token_expires(monkeypatch):
    token = issued()
    assert tokens.read(token, tokens.ACCESS)

    later = now() + timedelta(seconds=5 * 60 + tokens.LEEWAY)
    monkeypatch.setattr(tokens.clock, "now", lambda: later)
    with pytest.raises(tokens.TokenExpired):
        tokens.read(token, tokens.ACCESS)


@pytest.mark.parametrize("days", [1, -1])
def test_token_lives_by_the_club_clock(settings, tmp_path, days):
    settings.CLUB_CLOCK_FILE = tmp_path / "club-clock"
    before = issued()
    clock.move(timedelta(days=days))

    assert tokens.read(issued(), tokens.ACCESS)
    with pytest.raises(tokens.TokenExpired if days > 0 else tokens.TokenInvalid):
        tokens.read(before, tokens.ACCESS)


def test_cached_token_is_not_verified_again(monkeypatch):
    token = issued()
    claims = tokens.read(token, tokens.ACCESS)

    monkeypatch.setattr(tokens.KeyedBackend, "decode", None)
    assert tokens.read(token, tokens.ACCESS) is claims


def test_refresh_token_is_not_cached():
    token = issued(tokens.REFRESH)
    tokens.read(token, tokens.REFRESH)

    assert tokens._verify_cached.cache_info().currsize == 0
