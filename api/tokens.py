"""Access tokens and refresh tokens. Only this module uses JSON Web Tokens and simplejwt.

A token has the id of its login session (`sid`) and, for a refresh token, the session's generation (`gen`). It has no
role, name or e-mail address: data that may change is read from the database on each request.
"""

import uuid
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache

import jwt
from django.conf import settings
from rest_framework_simplejwt.backends import TokenBackend
from rest_framework_simplejwt.exceptions import TokenBackendError

from api import clock
from api.errors import Unauthenticated

ACCESS = "access"
REFRESH = "refresh"
LEEWAY = 10  # seconds by which the clocks of two hosts may differ
# Headers with which an attacker could choose the key or the rules of verification (RFC 7515, section 4.1).
FORBIDDEN_HEADERS = {"crit", "jku", "jwk", "x5u", "x5c"}


class TokenInvalid(Unauthenticated):
    """The token was not issued here, was changed, or is of the other kind."""

    code, message = "token_invalid", "Please log in again."


class TokenExpired(Unauthenticated):
    """The token is genuine and has expired."""

    code, message = "token_expired", "Your login needs to be renewed. Refresh it, or log in again."


@dataclass(frozen=True, slots=True)
class Claims:
    """The claims of a verified token."""

    session_id: uuid.UUID
    user_id: int
    generation: int


@dataclass(frozen=True, slots=True)
class _Verified:
    """A token with a valid signature: its kind, its times and its claims."""

    kind: str
    starts_at: int  # seconds since 1970
    expires_at: int
    claims: Claims


class KeyedBackend(TokenBackend):
    """simplejwt's TokenBackend for one key. It also writes the key id into the token's header."""

    def __init__(self, kid: str, alg: str, key: str):
        super().__init__(alg, key, audience=settings.JWT_AUDIENCE, issuer=settings.JWT_ISSUER)
        self.kid = kid

    def decode(self, token, verify=True):
        """Check everything except the times, which `read` compares with the club clock."""
        return jwt.decode(
            token,
            self.get_verifying_key(token),
            algorithms=[self.algorithm],
            audience=self.audience,
            issuer=self.issuer,
            options={"verify_exp": False, "verify_nbf": False, "verify_iat": False},
        )

    def encode(self, payload):
        claims = {**payload, "aud": self.audience, "iss": self.issuer}
        return jwt.encode(claims, self.prepared_signing_key, self.algorithm, headers={"kid": self.kid})


@lru_cache(maxsize=1)
def keyring() -> dict[str, KeyedBackend]:
    """Return the backend of each key id in JWT_KEYS."""
    return {kid: KeyedBackend(kid, entry["alg"], entry["key"]) for kid, entry in settings.JWT_KEYS.items()}


def issue(
    kind: str,
    *,
    session_id: uuid.UUID,
    user_id: int,
    auth_time: datetime,
    amr: list[str],
    now: datetime,
    expires_at: datetime,
    generation: int = 0,
) -> str:
    """Return a signed token. `kind` is ACCESS or REFRESH. `generation` is used for a refresh token only."""
    claims = {
        "typ": kind,
        "sub": str(user_id),
        "sid": str(session_id),
        "jti": uuid.uuid4().hex,
        "iat": int(now.timestamp()),
        "nbf": int(now.timestamp()),
        "exp": int(expires_at.timestamp()),
        "auth_time": int(auth_time.timestamp()),
        "amr": amr,
    }
    if kind == REFRESH:
        claims["gen"] = generation
    return keyring()[settings.JWT_ACTIVE_KID].encode(claims)


def read(token: str, kind: str) -> Claims:
    """Check a token's key, signature, issuer, audience, times and kind, and return its claims.

    :raises TokenExpired: everything is valid except that the token has expired
    :raises TokenInvalid: anything else is wrong with the token
    """
    try:
        # A client sends one access token with every call for five minutes, and a refresh token once.
        verified = _verify_cached(token) if kind == ACCESS else _verify(token)
        if verified.kind != kind:
            raise TokenInvalid
        moment = clock.now().timestamp()
        if verified.starts_at > moment + LEEWAY:
            raise TokenInvalid
        if verified.expires_at <= moment - LEEWAY:
            raise TokenExpired
        return verified.claims
    except (jwt.PyJWTError, TokenBackendError, KeyError, ValueError, TypeError, AttributeError) as error:
        raise TokenInvalid from error


def _verify(token: str) -> _Verified:
    """Check everything of a token except its kind and its times."""
    claims = keyring()[_key_id(token.partition(".")[0])].decode(token)  # type: ignore[arg-type]  # its stub names the wrong Token
    return _Verified(
        claims["typ"],
        max(int(claims["nbf"]), int(claims["iat"])),
        int(claims["exp"]),
        Claims(uuid.UUID(claims["sid"]), int(claims["sub"]), int(claims.get("gen", 0))),
    )


# Verifying takes a fifth of the time of a small call. The cache has genuine tokens only. They stay genuine until the
# keys change. Their times are checked at each reading, and the database is asked whether the login session is live.
_verify_cached = lru_cache(maxsize=2048)(_verify)


def reload_keys() -> None:
    """Use the present JWT_KEYS, and verify each token again. Call this after the setting was changed."""
    keyring.cache_clear()
    _verify_cached.cache_clear()


@lru_cache(maxsize=16)
def _key_id(header: str) -> str:
    """Return the key id in a token's header, which is the token's first part. All tokens of one key share it.

    :raises TokenInvalid: the header has one of FORBIDDEN_HEADERS
    :raises PyJWTError: it is not a JWT header
    """
    fields = jwt.get_unverified_header(f"{header}..")
    if FORBIDDEN_HEADERS & fields.keys():
        raise TokenInvalid
    return fields["kid"]
