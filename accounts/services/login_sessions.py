"""Log in, stay in, log out. One LoginSession row is one log-in; its generation makes refresh tokens single-use."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.db import connection, transaction

from accounts.backends import find_by_identifier, may_log_in
from accounts.models import CustomUser, LoginSession, NoticeKind, PendingLogin
from accounts.services import audit, notices, two_factor
from accounts.services.audit import Caller
from api import throttling, tokens
from api.authentication import SessionRevoked
from api.errors import Forbidden, NotFound, TooMany, Unauthenticated
from api.statements import WrittenOnce

# Tries at one name from one place, at one person (by any of their names) from anywhere, and from one place.
TRIES_PER_PAIR, TRIES_PER_PERSON, TRIES_PER_PLACE = 5, 50, 100
TRIES_WINDOW = 15 * 60  # seconds
VERSION = re.compile(r"[0-9][0-9._]*")

# By hand: each client rotates every five minutes, and the ORM takes longer to write this than PostgreSQL to run it.
ROTATE = """
UPDATE accounts_loginsession
SET generation = generation + 1, rotated_at = %(now)s, idle_expires_at = %(idle_expires_at)s
WHERE id = %(id)s AND generation = %(generation)s AND revoked_at IS NULL
"""

# What the next pair of tokens is made of.
RENEWED = ("user", "generation", "idle_expires_at", "absolute_expires_at", "auth_time", "amr", "remember")


def _to_renew(session_id: UUID, now: datetime):
    live = LoginSession.objects.live(now).filter(pk=session_id, user__is_active=True)
    return live.select_related("user").only(*RENEWED, "user__username")


find_to_renew = WrittenOnce(_to_renew, stand_ins=[UUID(int=0), datetime.max.replace(tzinfo=UTC)])


class InvalidCredentials(Unauthenticated):
    """Wrong password, unknown name and inactive account alike."""

    code, message = "invalid_credentials", "The name or the password is not right."


class TooManyAttempts(TooMany):
    """A name or a place was tried too often, whether there is such a person or not."""

    code, message = "too_many_attempts", "That was tried too often. Please wait a while."


class NotVerified(Forbidden):
    """Told only to who knows the password."""

    code, message = "email_not_verified", "Please confirm your e-mail address or phone number first."


class RefreshMissing(Unauthenticated):
    code, message = "refresh_missing", "Please log in."


class RefreshInvalid(Unauthenticated):
    code, message = "refresh_invalid", "Please log in again."


class RefreshExpired(Unauthenticated):
    code, message = "refresh_expired", "Your session is over. Please log in again."


class RefreshReused(Unauthenticated):
    """A used refresh token came back after the grace: the session was copied, and is ended."""

    code, message = "refresh_reused", "This session was ended for your safety. Please log in again."


@dataclass(frozen=True, slots=True)
class Tokens:
    """What a client is given: two tokens for its cookies, and when they end."""

    session: LoginSession
    access: str
    access_expires_at: datetime
    refresh: str
    refresh_expires_at: datetime
    rotated: bool = True


def log_in(
    *, identifier: str, password: str, remember: bool, caller: Caller, now: datetime
) -> Tokens | two_factor.Challenge:
    """Check a password and open a session, or ask for the second factor of who has one.

    :raises InvalidCredentials: unknown, wrong or inactive, told alike
    :raises NotVerified: the password is right, the address is not confirmed yet
    :raises TooManyAttempts: the same for names that do not exist
    """
    user = check_password(identifier=identifier, password=password, caller=caller, now=now)
    if not user.is_verified:
        audit.record("login", user=user, caller=caller, now=now, outcome="refused", reason="not_verified")
        raise NotVerified
    with transaction.atomic():
        # Hashing takes a while: a password that was changed meanwhile, which ended all sessions, opens none, nor does
        # who was deactivated.
        found = two_factor.lock(user.pk)
        if found.password != user.password or not found.is_active:
            raise InvalidCredentials
        if two_factor.has_second_factor(user):
            return two_factor.challenge(user=user, remember=remember, now=now)
        return open_session(user=user, amr=["pwd"], remember=remember, caller=caller, now=now)


def check_password(*, identifier: str, password: str, caller: Caller, now: datetime) -> CustomUser:
    """Return whose name and password these are. Every log-in by password begins here, the admin's too.

    :raises InvalidCredentials: unknown, wrong or inactive, told alike
    :raises TooManyAttempts: the same for names that do not exist
    """
    person = find_by_identifier(identifier)
    limit_tries(identifier, person, caller, now)
    is_right = may_log_in(person, password)  # also for None, so that it takes as long
    if person is None or not is_right:
        audit.record(
            "login",
            user=person,  # theirs to see, also when it was not them
            caller=caller,
            now=now,
            outcome="refused",
            identifier=throttling.hashed(identifier),
        )
        raise InvalidCredentials
    forget_tries(identifier, caller)
    return person


def finish_log_in(*, token: str | None, method: str, code: str, caller: Caller, now: datetime) -> Tokens:
    """Open the session that a right password waits for, by a code of the second factor. It opens one, once.

    :raises MfaExpired: no log-in waits for a code
    :raises MfaInvalid: the code is wrong, or was used before
    :raises TooMany: earlier wrong codes make this one wait
    """
    with transaction.atomic():
        pending = two_factor.answer(token=token, method=method, code=code, caller=caller, now=now)
        if pending:
            return open_session(
                user=pending.user, amr=["pwd", "otp"], remember=pending.remember, caller=caller, now=now
            )
    raise two_factor.MfaInvalid


def limit_tries(identifier: str, person: CustomUser | None, caller: Caller, now: datetime) -> None:
    """Count a try at a name, which is this person's or nobody's.

    Strangers who use up the tries of a person or of a place lock nobody out of where they have logged in before: there,
    the few tries of name and place together are the only limit.

    :raises TooManyAttempts: the same for names that do not exist
    """
    pair = _pair(identifier, caller)
    whom = f"person:{person.pk}" if person else f"name:{throttling.hashed(identifier)}"
    # In this order: one place alone cannot use up a person's tries.
    limits = {
        f"login:place:{caller.ip}": TRIES_PER_PLACE,
        pair: TRIES_PER_PAIR,
        f"login:{whom}": TRIES_PER_PERSON,
    }
    for key, limit in limits.items():
        try:
            throttling.count(key, limit, TRIES_WINDOW, now, refusal=TooManyAttempts)
        except TooManyAttempts as refused:
            if key != pair and _is_known_place(person, caller):
                continue
            if refused.is_first:
                hashed = throttling.hashed(identifier)
                about = {"outcome": "refused", "reason": refused.code, "identifier": hashed}
                audit.record("login", user=person, caller=caller, now=now, **about)
            raise


def _is_known_place(person: CustomUser | None, caller: Caller) -> bool:
    """Say whether the person has logged in from this address before."""
    return LoginSession.objects.filter(user=person, ip=caller.ip).exists()


def forget_tries(identifier: str, caller: Caller) -> None:
    """Begin anew the count of who has just given the right password from here; what others tried still counts."""
    throttling.reset(_pair(identifier, caller))


def _pair(identifier: str, caller: Caller) -> str:
    return f"login:pair:{throttling.hashed(identifier)}:{caller.ip}"


@transaction.atomic
def open_session(*, user: CustomUser, amr: list[str], remember: bool, caller: Caller, now: datetime) -> Tokens:
    """Open a session for a person who has just proved who they are; the oldest beyond the limit end."""
    if settings.LOGIN_NOTICES and is_new_device(user, caller.user_agent):
        notices.tell(user=user, kind=NoticeKind.NEW_DEVICE, now=now)
    session = LoginSession.objects.create(
        user=user,
        created_at=now,
        idle_expires_at=now + idle_lifetime(remember),
        absolute_expires_at=now + settings.REFRESH_ABSOLUTE_LIFETIME,
        auth_time=now,
        amr=amr,
        remember=remember,
        ip=caller.ip,
        user_agent=caller.user_agent,
    )
    surplus = live_sessions(user, now).order_by("-created_at").values("pk")[settings.SESSIONS_PER_USER :]
    if ended := revoke(LoginSession.objects.filter(pk__in=surplus), reason="too_many", now=now):
        audit.record("session_revoked", user=user, caller=caller, now=now, reason="too_many", count=ended)
    audit.record("login", user=user, caller=caller, now=now, session_id=session.pk)
    user.last_login = now  # shown in the admin; Django's own log-in, which we do not use here, writes it too
    user.save(update_fields=["last_login"])
    return tokens_for(session, now=now)


def is_new_device(user: CustomUser, user_agent: str) -> bool:
    """Say whether the person has logged in before, and never with such a browser.

    A browser's version is left out, since it changes every month; the address as well: phones change it every hour.
    """
    known = LoginSession.objects.filter(user=user).values_list("user_agent", flat=True).distinct()
    families = {VERSION.sub("", name) for name in known}
    return bool(families) and VERSION.sub("", user_agent) not in families


def refresh(*, token: str | None, caller: Caller, now: datetime) -> Tokens:
    """Exchange a refresh token for the next pair: a compare-and-swap on the session's generation.

    The token before the current one is answered alike for ten seconds (two tabs, a lost answer), without a
    second rotation. Any older one ends the session. The refusal is returned after its writes are committed.

    :raises RefreshMissing: no token came
    :raises RefreshExpired: its time is over
    :raises RefreshInvalid: it is no refresh token of ours
    :raises SessionRevoked: its session has ended
    :raises RefreshReused: it was used before; the session is ended now
    """
    if not token:
        raise RefreshMissing
    try:
        claims = tokens.read(token, tokens.REFRESH)
    except tokens.TokenExpired as error:
        raise RefreshExpired from error
    except tokens.TokenInvalid as error:
        raise RefreshInvalid from error
    session = next(iter(find_to_renew(claims.session_id, now)), None)
    if session is None or session.user_id != claims.user_id:
        raise SessionRevoked
    if claims.generation == session.generation and rotate(session, now=now):
        audit.record("refresh", user=session.user, caller=caller, now=now, session_id=session.pk)
        return tokens_for(session, now=now)

    session.refresh_from_db(fields=["generation", "rotated_at", "revoked_at", "idle_expires_at"])
    if session.revoked_at is not None:
        raise SessionRevoked
    is_twin = claims.generation == session.generation - 1 and now - session.rotated_at <= settings.REFRESH_GRACE
    if is_twin or claims.generation == session.generation:
        return tokens_for(session, now=now, rotated=False)
    if revoke(LoginSession.objects.filter(pk=session.pk), reason="refresh_reused", now=now):
        audit.record(
            "refresh_reused", user=session.user, caller=caller, now=now, session_id=session.pk, outcome="revoked"
        )
        notices.tell(user=session.user, kind=NoticeKind.SESSION_COPIED, now=now)
    raise RefreshReused


def rotate(session: LoginSession, *, now: datetime) -> bool:
    """Move the session to its next generation unless somebody else just did; say whether it was us."""
    idle_expires_at = now + idle_lifetime(session.remember)
    swap = {"id": session.pk, "generation": session.generation, "now": now, "idle_expires_at": idle_expires_at}
    with connection.cursor() as cursor:
        cursor.execute(ROTATE, swap)
        won = cursor.rowcount == 1
    if won:
        session.generation, session.rotated_at, session.idle_expires_at = session.generation + 1, now, idle_expires_at
    return won


def log_out(*, refresh_token: str | None, session: LoginSession | None, caller: Caller, now: datetime) -> None:
    """End the session that the cookies name, by whichever of them can still be read. Twice is harmless."""
    if session is None and refresh_token:
        try:
            session_id = tokens.read(refresh_token, tokens.REFRESH).session_id
        except Unauthenticated:
            return
        session = LoginSession.objects.select_related("user").filter(pk=session_id).first()
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
    """End every live session of a person but `keep`, and the log-ins on their way to one; return how many sessions."""
    # The person first, as whoever holds a session does: two who end the sessions of one wait in one order.
    two_factor.lock(user.pk)
    PendingLogin.objects.filter(user=user, used_at__isnull=True).update(used_at=now)
    ended = revoke(live_sessions(user, now).exclude(pk=keep), reason=reason, now=now)
    audit.record("sessions_revoked", user=user, actor=actor, caller=caller, now=now, reason=reason, count=ended)
    return ended


def hold(session: LoginSession) -> None:
    """Let nobody end the session before the caller's transaction is over.

    :raises SessionRevoked: it has ended since the request began
    """
    if not LoginSession.objects.select_for_update().filter(pk=session.pk, revoked_at__isnull=True).exists():
        raise SessionRevoked


def revoke_one(*, user: CustomUser, session_id: UUID, caller: Caller, now: datetime) -> None:
    """End one session of a person's own. Twice is harmless.

    :raises NotFound: it is nobody's, or somebody else's
    """
    mine = LoginSession.objects.filter(user=user, pk=session_id)
    if not mine.exists():
        raise NotFound
    if revoke(mine, reason="revoked", now=now):
        audit.record("session_revoked", user=user, caller=caller, now=now, session_id=session_id)


def revoke(sessions, *, reason: str, now: datetime) -> int:
    """End those of `sessions` that are live; return how many."""
    return sessions.filter(revoked_at__isnull=True).update(revoked_at=now, revoke_reason=reason)


def live_sessions(user: CustomUser, now: datetime):
    """Return the sessions that still let the person in."""
    return LoginSession.objects.live(now).filter(user=user)


def idle_lifetime(remember: bool) -> timedelta:
    """Return how long a session may rest before it ends."""
    return settings.REFRESH_IDLE_LIFETIME if remember else settings.REFRESH_UNREMEMBERED_LIFETIME


def tokens_for(session: LoginSession, *, now: datetime, rotated: bool = True) -> Tokens:
    """Return a fresh access token, and the refresh token of the session's current generation."""
    refresh_expires_at = min(session.idle_expires_at, session.absolute_expires_at)
    access_expires_at = min(now + settings.ACCESS_LIFETIME, refresh_expires_at)
    about = {
        "session_id": session.pk,
        "user_id": session.user_id,
        "auth_time": session.auth_time,
        "amr": session.amr,
        "now": now,
    }
    return Tokens(
        session=session,
        access=tokens.issue(tokens.ACCESS, expires_at=access_expires_at, **about),
        access_expires_at=access_expires_at,
        refresh=tokens.issue(tokens.REFRESH, expires_at=refresh_expires_at, generation=session.generation, **about),
        refresh_expires_at=refresh_expires_at,
        rotated=rotated,
    )
