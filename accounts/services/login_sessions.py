"""Login sessions: log in, refresh, log out, revoke.

A LoginSession row is one login. Its generation counter makes each refresh token work once.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import connection, transaction

from accounts.backends import find_by_identifier, may_log_in
from accounts.models import CustomUser, LoginSession, NoticeKind, PendingLogin
from accounts.services import audit, devices, notices, two_factor
from accounts.services.audit import Caller
from api import throttling, tokens
from api.authentication import SessionRevoked
from api.errors import NotFound, TooMany, Unauthenticated
from api.ip_addresses import place_of
from api.statements import WrittenOnce

# Attempts at one user from one place or known browser; at one user from all places; failed attempts at one place.
ATTEMPTS_PER_PAIR, ATTEMPTS_PER_PERSON, FAILURES_PER_PLACE = 5, 50, 100
ATTEMPTS_WINDOW = 15 * 60  # seconds
# Attempts at one place within seconds, while it is over its sum of failures.
SLOW_ATTEMPTS, SLOW_WINDOW = 10, 10
# Refreshes of one login session: a client needs three in this time. Refreshes without a live session at one place.
REFRESHES_PER_SESSION, DEAD_REFRESHES_PER_PLACE, REFRESHES_WINDOW = 60, 300, 15 * 60  # seconds
VERSION = re.compile(r"[0-9][0-9._]*")

# Plain SQL: every client refreshes each five minutes, and the ORM takes longer to build this than PostgreSQL to run it.
ROTATE = """
UPDATE accounts_loginsession
SET generation = generation + 1, rotated_at = %(now)s, idle_expires_at = %(idle_expires_at)s
WHERE id = %(id)s AND generation = %(generation)s AND revoked_at IS NULL
"""

# The fields that new tokens are made from.
TOKEN_FIELDS = ("user", "generation", "idle_expires_at", "absolute_expires_at", "auth_time", "amr", "remember")


def _live_session(session_id: UUID, now: datetime):
    live = LoginSession.objects.live(now).filter(pk=session_id, user__is_active=True)
    return live.select_related("user").only(*TOKEN_FIELDS, "user__username")


find_live_session = WrittenOnce(_live_session, stand_ins=[UUID(int=0), datetime.max.replace(tzinfo=UTC)])


class InvalidCredentials(Unauthenticated):
    """Wrong password, unknown identifier, inactive account or unverified contact: one error for all."""

    code = "invalid_credentials"
    message = "The username or password is wrong, or you have not confirmed your phone number or e-mail address yet."


class TooManyAttempts(TooMany):
    """Too many attempts at one identifier, or from one IP address, whether the user exists or not."""

    code, message = "too_many_attempts", "Too many attempts. Wait a few minutes and try again."


class RefreshMissing(Unauthenticated):
    code, message = "refresh_missing", "Please log in."


class RefreshInvalid(Unauthenticated):
    code, message = "refresh_invalid", "Please log in again."


class RefreshExpired(Unauthenticated):
    code, message = "refresh_expired", "Your session has expired. Please log in again."


class RefreshReused(Unauthenticated):
    """A used refresh token came again after the grace period: somebody copied the session, so it is revoked."""

    code, message = "refresh_reused", "This session was ended for your safety. Please log in again."


@dataclass(frozen=True, slots=True)
class Attempt:
    """An attempt to log in, counted.

    `is_refused`: it fails even with the correct password, and looks like a wrong one. `is_guarded`: too many logins
    failed at this place, or for this identifier, so the correct password is not enough.
    """

    is_refused: bool
    is_guarded: bool
    pairs: tuple[str, ...]
    sums: tuple[str, ...] = ()

    def succeed(self) -> None:
        """Forget the failures of this user at this place, and do not count this attempt as one."""
        throttling.reset(*self.pairs)
        if self.sums:
            throttling.give_back(*self.sums)


@dataclass(frozen=True, slots=True)
class Checked:
    """The result of a password check: the user, or None after a wrong password of a guarded attempt."""

    user: CustomUser | None
    is_guarded: bool


@dataclass(frozen=True, slots=True)
class Tokens:
    """The two tokens for a client's cookies, and when they expire."""

    session: LoginSession
    access: str
    access_expires_at: datetime
    refresh: str
    refresh_expires_at: datetime
    rotated: bool = True


def log_in(
    *, identifier: str, password: str, remember: bool, caller: Caller, now: datetime
) -> Tokens | two_factor.Challenge:
    """Check the password and open a login session, or return the challenge for a second step.

    :raises InvalidCredentials: unknown, wrong or inactive: one error for all
    :raises TooManyAttempts: also for identifiers that do not exist
    """
    checked = check_password(identifier=identifier, password=password, caller=caller, now=now)
    user = checked.user
    if user is None or checked.is_guarded:
        return two_factor.create_guarded_challenge(user=user, remember=remember, now=now)
    with transaction.atomic():
        # The check of the password takes a while. A password changed or an account deactivated meanwhile has ended all
        # login sessions, so no new one may be opened.
        current = two_factor.lock_user(user.pk)
        if current.password != user.password or not current.is_active:
            raise InvalidCredentials
        if two_factor.has_second_factor(user):
            return two_factor.create_challenge(user=user, remember=remember, now=now)
        return open_session(user=user, amr=["pwd"], remember=remember, caller=caller, now=now)


def check_password(*, identifier: str, password: str, caller: Caller, now: datetime) -> Checked:
    """Check the password of the active user with this identifier. The API and the admin both log in by it.

    A guarded attempt raises nothing for a wrong password. The caller must then answer the same for every password.

    :raises InvalidCredentials: unknown, wrong or inactive: one error for all
    :raises TooManyAttempts: also for identifiers that do not exist
    """
    person = find_by_identifier(identifier)
    attempt = count_attempt(identifier, person, caller, now)
    # Also for None, and when the attempt is refused anyway, since the response time must be the same.
    is_correct = may_log_in(person, password) and not attempt.is_refused
    hashed = throttling.hashed(identifier)
    # The user sees these attempts in their security events, also when somebody else made them.
    if attempt.is_guarded:
        audit.record(
            "login", user=person, caller=caller, now=now, outcome="refused", reason="guarded", identifier=hashed
        )
        return Checked(person if is_correct else None, is_guarded=True)
    if person is None or not is_correct:
        audit.record("login", user=person, caller=caller, now=now, outcome="refused", identifier=hashed)
        raise InvalidCredentials
    attempt.succeed()
    return Checked(person, is_guarded=False)


def finish_login(*, token: str | None, method: str, code: str, caller: Caller, now: datetime) -> Tokens:
    """Open the login session of a pending login by a code of the second factor.

    :raises MfaExpired: there is no such pending login, or it can no longer be used
    :raises MfaInvalid: the code is wrong, or was used before
    :raises TooMany: the waiting time after the last wrong code is not over
    """
    with transaction.atomic():
        answered = two_factor.answer_challenge(token=token, method=method, code=code, caller=caller, now=now)
        if answered:
            return open_session(
                user=answered.user, amr=answered.amr, remember=answered.remember, caller=caller, now=now
            )
    raise two_factor.MfaInvalid


def count_attempt(identifier: str, person: CustomUser | None, caller: Caller, now: datetime) -> Attempt:
    """Count an attempt to log in by an identifier; `person` is the user with that identifier, or None.

    A browser in which the user has logged in before has a counter of its own, which strangers cannot use up. Every
    other attempt is counted for its place, and twice for its target: for the identifier that was typed, and for the
    user with all their identifiers. Only the counter of the identifier is visible. If the other were, then a refusal
    would show that a phone number and an e-mail address belong to the same user.

    :raises TooManyAttempts: also for identifiers that do not exist
    """
    device = devices.device_of(caller.device, person)
    if person and device:
        key = f"login:device:{person.pk}:{device}"
        own = throttling.count_all({key: ATTEMPTS_PER_PAIR}, ATTEMPTS_WINDOW, now)[key]
        _require_under_limit(own, identifier, person, caller, now)
        return Attempt(is_refused=False, is_guarded=False, pairs=(key,))
    place = place_of(caller.ip)
    name = f"login:name:{throttling.hashed(identifier)}"
    target = f"login:person:{person.pk}" if person else f"{name}:nobody"
    name_here, target_here, at_place = f"{name}:{place}", f"{target}:{place}", f"login:place:{place}"
    pairs = {name_here: ATTEMPTS_PER_PAIR, target_here: ATTEMPTS_PER_PAIR}
    here = throttling.count_all(pairs, ATTEMPTS_WINDOW, now)
    _require_under_limit(here[name_here], identifier, person, caller, now)
    # Counted after that refusal, so that one place cannot use up all attempts of a user.
    sums = {name: ATTEMPTS_PER_PERSON, target: ATTEMPTS_PER_PERSON, at_place: FAILURES_PER_PLACE}
    everywhere = throttling.count_all(sums, ATTEMPTS_WINDOW, now)
    is_guarded = everywhere[name].is_over or everywhere[at_place].is_over
    if is_guarded:
        throttling.count(f"login:slow:{place}", SLOW_ATTEMPTS, SLOW_WINDOW, now, refusal=TooManyAttempts)
    return Attempt(
        is_refused=here[target_here].is_over or (everywhere[target].is_over and not is_guarded),
        is_guarded=is_guarded,
        pairs=tuple(pairs),
        sums=tuple(sums),
    )


def _require_under_limit(
    counted: throttling.Counted, identifier: str, person: CustomUser | None, caller: Caller, now: datetime
) -> None:
    """Check a counter, and audit the first refusal in its window.

    :raises TooManyAttempts: there were too many attempts
    """
    try:
        counted.require(TooManyAttempts)
    except TooManyAttempts as refused:
        if refused.is_first:
            audit.record(
                "login",
                user=person,
                caller=caller,
                now=now,
                outcome="refused",
                reason=refused.code,
                identifier=throttling.hashed(identifier),
            )
        raise


@transaction.atomic
def open_session(
    *,
    user: CustomUser,
    amr: list[str],
    remember: bool,
    caller: Caller,
    now: datetime,
    auth_time: datetime | None = None,
) -> Tokens:
    """Open a login session for an authenticated user. Beyond SESSIONS_PER_USER the oldest sessions end.

    `auth_time` is when the user logged in, if the session replaces an earlier one.
    """
    if settings.LOGIN_NOTICES and is_new_device(user, caller.user_agent):
        notices.create(user=user, kind=NoticeKind.NEW_DEVICE, now=now)
    session = LoginSession.objects.create(
        user=user,
        created_at=now,
        idle_expires_at=now + idle_lifetime(remember),
        absolute_expires_at=now + settings.REFRESH_ABSOLUTE_LIFETIME,
        auth_time=auth_time or now,
        amr=amr,
        remember=remember,
        ip=caller.ip,
        user_agent=caller.user_agent,
    )
    surplus = live_sessions(user, now).order_by("-created_at").values("pk")[settings.SESSIONS_PER_USER :]
    if ended := revoke(LoginSession.objects.filter(pk__in=surplus), reason="too_many", now=now):
        audit.record("session_revoked", user=user, caller=caller, now=now, reason="too_many", count=ended)
    audit.record("login", user=user, caller=caller, now=now, session_id=session.pk)
    user.last_login = now  # the admin shows it; Django's own login, which the API does not use, sets it too
    user.save(update_fields=["last_login"])
    return issue_tokens(session, now=now)


def is_new_device(user: CustomUser, user_agent: str) -> bool:
    """Return whether the user has logged in before, but never with such a browser.

    The browser's version is ignored, since it changes every month. So is the IP address: on a phone it changes hourly.
    """
    known = LoginSession.objects.filter(user=user).values_list("user_agent", flat=True).distinct()
    families = {VERSION.sub("", name) for name in known}
    return bool(families) and VERSION.sub("", user_agent) not in families


def refresh(*, token: str | None, caller: Caller, now: datetime) -> Tokens:
    """Exchange a refresh token for new tokens, by a compare-and-swap on the session's generation.

    For ten seconds after a rotation the previous token is accepted too (two tabs, or a lost response). It gets tokens
    of the current generation, without a second rotation. Any older token revokes the session, and the revocation is
    committed before the error is raised.

    :raises RefreshMissing: no token was sent
    :raises RefreshExpired: the token has expired
    :raises RefreshInvalid: it is no refresh token of this product
    :raises SessionRevoked: its login session has ended
    :raises RefreshReused: it was used before; the login session is revoked now
    :raises TooMany: too many refreshes of one login session, or too many at one place without a live one
    """
    try:
        return _exchange(token, caller, now)
    except Unauthenticated:
        throttling.count(f"refresh:dead:{place_of(caller.ip)}", DEAD_REFRESHES_PER_PLACE, REFRESHES_WINDOW, now)
        raise


def _exchange(token: str | None, caller: Caller, now: datetime) -> Tokens:
    if not token:
        raise RefreshMissing
    try:
        claims = tokens.read(token, tokens.REFRESH)
    except tokens.TokenExpired as error:
        raise RefreshExpired from error
    except tokens.TokenInvalid as error:
        raise RefreshInvalid from error
    session = next(iter(find_live_session(claims.session_id, now)), None)
    if session is None or session.user_id != claims.user_id:
        raise SessionRevoked
    throttling.count(f"refresh:{session.pk}", REFRESHES_PER_SESSION, REFRESHES_WINDOW, now)
    if claims.generation == session.generation and rotate(session, now=now):
        if claims.generation == 0:
            # Only the first: the audit log is permanent, and the session's row has the count and the time of the last.
            audit.record("refresh", user=session.user, caller=caller, now=now, session_id=session.pk)
        return issue_tokens(session, now=now)

    session.refresh_from_db(fields=["generation", "rotated_at", "revoked_at", "idle_expires_at"])
    if session.revoked_at is not None:
        raise SessionRevoked
    if claims.generation == session.generation or _is_in_grace(claims.generation, session, now):
        return issue_tokens(session, now=now, rotated=False)
    if revoke(LoginSession.objects.filter(pk=session.pk), reason="refresh_reused", now=now):
        audit.record(
            "refresh_reused", user=session.user, caller=caller, now=now, session_id=session.pk, outcome="revoked"
        )
        notices.create(user=session.user, kind=NoticeKind.SESSION_COPIED, now=now)
    raise RefreshReused


def _is_in_grace(generation: int, session: LoginSession, now: datetime) -> bool:
    """Return whether a token of `generation` is the one before the current one, replaced within the grace period."""
    if generation != session.generation - 1 or session.rotated_at is None:
        return False
    return now - session.rotated_at <= settings.REFRESH_GRACE


def rotate(session: LoginSession, *, now: datetime) -> bool:
    """Move the session to its next generation, unless a concurrent request did; return whether this call did."""
    idle_expires_at = now + idle_lifetime(session.remember)
    values: dict[str, Any] = {
        "id": session.pk,
        "generation": session.generation,
        "now": now,
        "idle_expires_at": idle_expires_at,
    }
    with connection.cursor() as cursor:
        cursor.execute(ROTATE, values)
        is_rotated = cursor.rowcount == 1
    if is_rotated:
        session.generation, session.rotated_at, session.idle_expires_at = session.generation + 1, now, idle_expires_at
    return is_rotated


def log_out(*, refresh_token: str | None, session: LoginSession | None, caller: Caller, now: datetime) -> None:
    """End the login session of the caller: `session`, or else that of the refresh token.

    A repeated call, and a call without any valid cookie, changes nothing.
    """
    if session is None and refresh_token:
        try:
            session_id = tokens.read(refresh_token, tokens.REFRESH).session_id
        except Unauthenticated:
            return
        session = LoginSession.objects.select_related("user").filter(pk=session_id).first()
    if session:  # a login that was begun in the same browser must not outlive the logout
        PendingLogin.objects.filter(user_id=session.user_id, used_at__isnull=True).update(used_at=now)
    if session and revoke(LoginSession.objects.filter(pk=session.pk), reason="logout", now=now):
        audit.record("logout", user=session.user, caller=caller, now=now, session_id=session.pk)


@transaction.atomic
def revoke_all(
    *,
    user: CustomUser,
    reason: str,
    caller: Caller,
    now: datetime,
    actor: CustomUser | None = None,
    keep: UUID | None = None,
) -> int:
    """End every live login session of a user except `keep`, and their pending logins; return how many sessions."""
    # The user is locked before the sessions, as everywhere: concurrent calls cannot deadlock.
    two_factor.lock_user(user.pk)
    PendingLogin.objects.filter(user=user, used_at__isnull=True).update(used_at=now)
    ended = revoke(live_sessions(user, now).exclude(pk=keep), reason=reason, now=now)
    audit.record("sessions_revoked", user=user, actor=actor, caller=caller, now=now, reason=reason, count=ended)
    return ended


def lock_live(session: LoginSession) -> None:
    """Lock the session, so that it cannot end before the caller's transaction does.

    :raises SessionRevoked: it has ended since the request began
    """
    if not LoginSession.objects.select_for_update().filter(pk=session.pk, revoked_at__isnull=True).exists():
        raise SessionRevoked


def revoke_one(*, user: CustomUser, session_id: UUID, caller: Caller, now: datetime) -> None:
    """End one of the user's own sessions. A repeated call changes nothing.

    :raises NotFound: the user has no such session
    """
    mine = LoginSession.objects.filter(user=user, pk=session_id)
    if not mine.exists():
        raise NotFound
    if revoke(mine, reason="revoked", now=now):
        audit.record("session_revoked", user=user, caller=caller, now=now, session_id=session_id)


def revoke(sessions, *, reason: str, now: datetime) -> int:
    """Revoke the sessions that are not revoked yet; return how many."""
    return sessions.filter(revoked_at__isnull=True).update(revoked_at=now, revoke_reason=reason)


def live_sessions(user: CustomUser, now: datetime):
    """Return the user's sessions that are neither revoked nor expired."""
    return LoginSession.objects.live(now).filter(user=user)


def idle_lifetime(remember: bool) -> timedelta:
    """Return after which time without a refresh a session expires."""
    return settings.REFRESH_IDLE_LIFETIME if remember else settings.REFRESH_UNREMEMBERED_LIFETIME


def issue_tokens(session: LoginSession, *, now: datetime, rotated: bool = True) -> Tokens:
    """Return a new access token, and the refresh token of the session's current generation."""
    refresh_expires_at = min(session.idle_expires_at, session.absolute_expires_at)
    access_expires_at = min(now + settings.ACCESS_LIFETIME, refresh_expires_at)
    claims: dict[str, Any] = {
        "session_id": session.pk,
        "user_id": session.user_id,
        "auth_time": session.auth_time,
        "amr": session.amr,
        "now": now,
    }
    return Tokens(
        session=session,
        access=tokens.issue(tokens.ACCESS, expires_at=access_expires_at, **claims),
        access_expires_at=access_expires_at,
        refresh=tokens.issue(tokens.REFRESH, expires_at=refresh_expires_at, generation=session.generation, **claims),
        refresh_expires_at=refresh_expires_at,
        rotated=rotated,
    )
