"""Access and refresh tokens: the only module that knows of JSON Web Tokens and of simplejwt.

A token names its session (`sid`) and, for a refresh token, the session's generation (`gen`). Roles, names and
addresses never stand in it: whatever may change is read from the database on each request.
"""

import uuid
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from time import time

import jwt
from django.conf import settings
from rest_framework_simplejwt.backends import TokenBackend
from rest_framework_simplejwt.exceptions import TokenBackendError, TokenBackendExpiredToken

from api.errors import Unauthenticated

ACCESS = "access"
REFRESH = "refresh"
# Clocks of two hosts may differ by this many seconds.
LEEWAY = 10
# Headers by which a forger could choose the key or the rules (RFC 7515, section 4.1).
FORBIDDEN_HEADERS = {"crit", "jku", "jwk", "x5u", "x5c"}


class TokenInvalid(Unauthenticated):
    """Not a token of ours, or not of this kind."""

    code, message = "token_invalid", "Please log in again."


class TokenExpired(Unauthenticated):
    """A token of ours whose time is over."""

    code, message = "token_expired", "Your session needs to be renewed."


@dataclass(frozen=True, slots=True)
class Claims:
    """What a verified token says."""

    session_id: uuid.UUID
    user_id: int
    generation: int


@dataclass(frozen=True, slots=True)
class _Said:
    kind: str
    expires_at: int  # seconds since 1970
    claims: Claims


class KeyedBackend(TokenBackend):
    """simplejwt's coder for one key, which writes the key's id into the header."""

    def __init__(self, kid: str, alg: str, key: str):
        super().__init__(alg, key, audience=settings.JWT_AUDIENCE, issuer=settings.JWT_ISSUER, leeway=LEEWAY)
        self.kid = kid

    def encode(self, payload):
        claims = {**payload, "aud": self.audience, "iss": self.issuer}
        return jwt.encode(claims, self.prepared_signing_key, self.algorithm, headers={"kid": self.kid})


@lru_cache(maxsize=1)
def keyring() -> dict[str, KeyedBackend]:
    """Return the coder of each key id in JWT_KEYS."""
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
    """Return a signed token; `kind` is ACCESS or REFRESH, `generation` counts for a refresh token only."""
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
    """Return what a token says, once its key, signature, issuer, audience, times and kind are right.

    :raises TokenExpired: it was good, and its time is over
    :raises TokenInvalid: anything else is wrong with it
    """
    try:
        # A client sends its access token with every call of five minutes, and a refresh token once.
        said = _kept(token) if kind == ACCESS else _verified(token)
        if said.kind != kind:
            raise TokenInvalid
        if said.expires_at <= time() - LEEWAY:
            raise TokenExpired
        return said.claims
    except TokenBackendExpiredToken as error:
        raise TokenExpired from error
    except (jwt.PyJWTError, TokenBackendError, KeyError, ValueError, TypeError, AttributeError) as error:
        raise TokenInvalid from error


def _verified(token: str) -> _Said:
    """Return what a token says if all is right with it but, perhaps, its kind."""
    claims = keyring()[_key_id(token.partition(".")[0])].decode(token)  # type: ignore[arg-type]  # its stub asks for the wrong Token
    return _Said(
        claims["typ"],
        int(claims["exp"]),
        Claims(uuid.UUID(claims["sid"]), int(claims["sub"]), int(claims.get("gen", 0))),
    )


# Verifying costs a fifth of a small call. Only a token that was right is kept, and of all that was right only its end
# can change while the keys are the same; whether its session lives is asked of the database each time.
_kept = lru_cache(maxsize=2048)(_verified)


def forget_keys() -> None:
    """Read JWT_KEYS anew, and believe nothing that former keys signed."""
    keyring.cache_clear()
    _kept.cache_clear()


@lru_cache(maxsize=16)
def _key_id(header: str) -> str:
    """Return the key that a token's first part names; all tokens of one key have the same.

    :raises TokenInvalid: it is a header by which a forger chooses the rules
    :raises PyJWTError: it is none
    """
    said = jwt.get_unverified_header(f"{header}..")
    if FORBIDDEN_HEADERS & said.keys():
        raise TokenInvalid
    return said["kid"]
