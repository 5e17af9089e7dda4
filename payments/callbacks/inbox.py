"""The callback inbox: store the bytes that Safaricom sent, then apply them.

Safaricom sends a callback once and signs nothing. Its bytes are committed before they are parsed, and the request is
answered 200 only after that. While the database is not available, the bytes are written to the spool and fsynced.

Whoever learns a callback URL cannot fill the database with junk, nor hide a true result behind it. The first twenty
bodies of a URL are stored (of the confirmations' URL: of each hour). After that, only a result with a new body is
stored. The rest is counted in the newest row, with one line in the log.
"""

import logging
import threading
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import Any, NoReturn, TypeVar

import psycopg
from django.db import (
    DatabaseError,
    DataError,
    IntegrityError,
    InterfaceError,
    OperationalError,
    connection,
    transaction,
)
from django.db.models import F, Q
from procrastinate.contrib.django import app as jobs
from procrastinate.exceptions import AlreadyEnqueued
from psycopg.types.json import Jsonb

from payments.callbacks import spool
from payments.daraja import callback_tokens
from payments.daraja.messages import Malformed, parse_c2b, parse_status_result, parse_stk_callback
from payments.desk import code_checks
from payments.evidence import c2b_confirmations, stk_results
from payments.evidence.outcomes import CLOCK_SKEW, EvidenceOutcome
from payments.models import (
    Callback,
    CallbackOutcome,
    CallbackSource,
    CodeCheck,
    ReviewItem,
    ReviewReason,
    ReviewStatus,
    StkPush,
)
from payments.services import review_items

logger = logging.getLogger(__name__)
Returned = TypeVar("Returned")

LOCK_TRIES = 3  # times that one attempt is made when the locks of another transaction are in its way
MOST_ATTEMPTS = 10  # attempts to apply a callback before it becomes a review item
# For this long after a callback was received, or could not be applied, the workers leave it alone.
RETRY_DELAY = timedelta(seconds=10)
# How many callbacks this process applies at once while Safaricom waits for the answer. Python runs one thread at a
# time, so a second one would delay requests that only need their bytes stored. A callback that finds no free slot is
# stored and answered, and a worker applies it (docs/decisions/0025).
APPLY_SLOT = threading.BoundedSemaphore(1)
APPLY_JOB = "payments.apply_left"
# A notice that a code check expired is no result.
RESULT_PARSERS: dict[str, Callable[[bytes], object]] = {
    CallbackSource.STK: parse_stk_callback,
    CallbackSource.C2B_CONFIRMATION: parse_c2b,
    CallbackSource.CODE_CHECK: parse_status_result,
}
STORED_HEADERS = ("Content-Type", "Businessshortcode", "User-Agent")
# Not available, read-only after a failover, or in a migration: in each case Safaricom does not send again.
DATABASE_ERRORS = (DatabaseError, InterfaceError)

# How many callbacks of one URL are stored whatever they are; of the confirmations' URL: in one hour.
MOST_OF_A_URL = 20
INSERT_OF_OWNER = """
INSERT INTO payments_callback
    (source, {owner}_id, body, headers, peer, received_at, next_try_at, outcome, error, attempts)
SELECT %s, owner.id, %s, %s, %s, %s, %s, 'new', '', 0 FROM {table} owner
WHERE owner.token_hash = %s AND (%s OR {most} > (
    SELECT count(*) FROM payments_callback stored WHERE stored.{owner}_id = owner.id))
RETURNING id, push_id, code_check_id
"""
INSERT_STK = INSERT_OF_OWNER.format(owner="push", table="payments_stkpush", most=MOST_OF_A_URL)
INSERT_CODE_CHECK = INSERT_OF_OWNER.format(owner="code_check", table="payments_codecheck", most=MOST_OF_A_URL)
COUNT_NOT_STORED = """
UPDATE payments_callback SET not_stored = not_stored + 1
WHERE id = (SELECT max(stored.id) FROM payments_callback stored WHERE stored.{column} = %s)
RETURNING not_stored
"""
INSERT_WITHOUT_OWNER = """
INSERT INTO payments_callback
    (source, body, headers, peer, received_at, next_try_at, limit_key, outcome, error, attempts)
SELECT %s, %s, %s, %s, %s, %s, %s, 'new', '', 0 WHERE {condition}
RETURNING id, push_id, code_check_id
"""
INSERT_NEW_CONFIRMATION = INSERT_WITHOUT_OWNER.format(
    condition="NOT EXISTS (SELECT FROM payments_callback stored WHERE stored.source = 'c2b_confirmation'"
    " AND sha256(stored.body) = sha256(%s))"
)
INSERT_UNDER_LIMIT = INSERT_WITHOUT_OWNER.format(
    condition="%s > (SELECT count(*) FROM payments_callback stored WHERE stored.limit_key = %s)"
)
INSERT_NEW_OF_KEY = INSERT_WITHOUT_OWNER.format(
    condition="NOT EXISTS (SELECT FROM payments_callback stored WHERE stored.limit_key = %s AND stored.body = %s)"
)
WRITE_OUTCOME = """
UPDATE payments_callback SET outcome = %s, error = %s, processed_at = %s, attempts = attempts + 1
WHERE id = %s AND outcome = 'new'
"""

JOB_IS_QUEUED = "SELECT EXISTS (SELECT FROM procrastinate_jobs WHERE queueing_lock = %s AND status = 'todo')"


class EnoughStored(Exception):
    """A URL has its most callbacks, and a further one says nothing new. It was counted and not stored."""


def receive(
    *,
    source: CallbackSource,
    body: bytes,
    headers: Mapping[str, str],
    peer: str | None,
    now: datetime,
    token: str | None = None,
) -> bool:
    """Store a callback and apply it. Return False, with nothing stored, when its token is not signed with our key.

    A signed token whose push or code check is not known (the database was restored, or Safaricom answered "busy" and
    sent the push all the same) proves the callback. It is stored, and becomes a review item.

    When this returns True, the bytes are committed or fsynced and survive this process. A callback that cannot be
    applied now, because there is no free slot or because it failed, is applied later by a worker.

    :raises spool.SpoolFull: neither the database nor the disk can store it
    """
    message = spool.Message(
        source=source,
        body=body,
        headers={name: headers[name][:200] for name in STORED_HEADERS if name in headers},
        peer=peer,
        received_at=now,
        token_hash=token and callback_tokens.hash_of(token),
    )
    has_slot = APPLY_SLOT.acquire(blocking=False)
    try:
        try:
            next_try_at = now + RETRY_DELAY if has_slot else now
            stored = _store_or_reconnect(_store, message, next_try_at=next_try_at)
            if stored is None and token is not None and callback_tokens.is_ours(token):
                stored = _store_or_reconnect(_store_unknown, message, next_try_at=next_try_at)
        except DATABASE_ERRORS as error:
            if token is not None and not callback_tokens.is_ours(token):
                return False
            logger.warning("Database error %s: a %s callback goes to the spool.", type(error).__name__, source)
            spool.append(message, most_others=None if _is_result(message) else MOST_OF_A_URL)
            return True
        except EnoughStored:
            return True
        if stored is None:
            return False
        if has_slot:
            _try_to_apply(stored, now=now)
        else:
            defer_apply_job()
        return True
    finally:
        if has_slot:
            APPLY_SLOT.release()


def defer_apply_job() -> None:
    """Queue the job that applies stored callbacks, unless one is queued already. At most one waits and one runs.

    Call this after the callback is committed. When it fails, the periodic job finds the callback.
    """
    try:
        with connection.cursor() as cursor:
            cursor.execute(JOB_IS_QUEUED, [APPLY_JOB])
            [is_queued] = cursor.fetchone()
        if not is_queued:
            jobs.configure_task(APPLY_JOB).defer()
    except AlreadyEnqueued:
        return  # another process has queued it since
    except Exception:
        logger.exception("The job that applies callbacks could not be queued.")


def replay(*, callback_id: int, now: datetime) -> CallbackOutcome:
    """Apply a stored callback again and return its outcome. An applied or duplicate callback is left as it is.

    When it fails, the exception is raised and the row stays as it was.

    :raises Callback.DoesNotExist: there is no such callback
    """
    with transaction.atomic():
        callback = Callback.objects.select_for_update(no_key=True).get(pk=callback_id)
        if callback.outcome in (CallbackOutcome.APPLIED, CallbackOutcome.DUPLICATE):
            return CallbackOutcome(callback.outcome)
        Callback.objects.filter(pk=callback_id).update(outcome=CallbackOutcome.NEW)
        return _with_lock_retries(partial(_apply, callback, now=now))


def apply_waiting(*, now: datetime, limit: int = 500) -> int:
    """Apply the new callbacks that are due, oldest first, and return how many were decided.

    Each has a transaction of its own, so one that fails does not stop the others. Callbacks that another worker has
    locked are skipped, so workers may run this at the same time. After ten attempts a callback becomes a review item.
    """
    # A time further ahead than any try is planned was written before the clock was set back.
    planned = Q(next_try_at__gt=now, next_try_at__lte=now + CLOCK_SKEW)
    waiting = Callback.objects.filter(outcome=CallbackOutcome.NEW).exclude(planned)
    done = 0
    for callback_id in list(waiting.order_by("next_try_at", "pk").values_list("pk", flat=True)[:limit]):
        try:
            done += _with_lock_retries(partial(_apply_if_free, callback_id, now=now))
        except Exception:
            logger.exception("Callback %s could not be applied. A later run tries again.", callback_id)
            _record_failure(callback_id, now=now)
    return done


def drain_spool(*, now: datetime, is_stopping: Callable[[], bool] = lambda: False) -> int:
    """Move this host's spooled callbacks into the inbox, for the workers to apply. Return how many were moved.

    One process of a host moves them at a time; for another one there is nothing to move. `is_stopping` is asked before
    each callback. A file is removed only after its row is committed. A crash in between stores the callback twice, and
    the second row is a duplicate. A message that the database refuses is set aside; on any other database error all of
    them stay.
    """
    if not spool.folder().is_dir():
        return 0
    with spool.lock() as is_free:
        moved = _move_spooled(now=now, is_stopping=is_stopping) if is_free else 0
    if moved:
        defer_apply_job()
    return moved


# --- Storing --------------------------------------------------------------------------------------


def _move_spooled(*, now: datetime, is_stopping: Callable[[], bool]) -> int:
    moved = 0
    for path, message in spool.stored_messages():
        if is_stopping():
            break
        try:
            if _store(message, next_try_at=now) is None:  # only callbacks with a token of ours are spooled
                _store_unknown(message, next_try_at=now)
        except (DataError, IntegrityError):  # an error of this message alone
            logger.exception("The callback in spool file %s cannot be stored.", path.name)
            spool.set_aside(path)
            continue
        except DATABASE_ERRORS:
            logger.warning("Database error: the spool is kept for a later run.")
            break
        except EnoughStored:
            spool.remove(path)
            continue
        spool.remove(path)
        moved += 1
    return moved


def _store_or_reconnect(
    store: Callable[..., Callback | None], message: spool.Message, *, next_try_at: datetime
) -> Callback | None:
    """Store a callback with `store`. When the connection turns out to be dead or read-only, store it over a new one.

    When only the answer to the first commit was lost, it is stored twice, and the second row is a duplicate.
    """
    try:
        return store(message, next_try_at=next_try_at)
    except DATABASE_ERRORS:
        if connection.in_atomic_block:
            raise
        connection.close()
        return store(message, next_try_at=next_try_at)


def _store(message: spool.Message, *, next_try_at: datetime) -> Callback | None:
    """Commit a callback's bytes, in one statement that also finds the push or code check of its token.

    :raises EnoughStored: its URL has its most callbacks, and this one is no result or a stored one
    """
    if message.token_hash is None:
        return _callback(message, _store_confirmation(message, next_try_at=next_try_at))
    row = _insert(message, next_try_at=next_try_at) or _store_over_limit(message, next_try_at=next_try_at)
    return None if row is None else _callback(message, row)


def _store_confirmation(message: spool.Message, *, next_try_at: datetime) -> tuple:
    """Insert a C2B confirmation. An hour has a limit of bodies that are no confirmation, or are stored already.

    :raises EnoughStored: see _store
    """
    values = _values(message, next_try_at=next_try_at)
    key = f"{message.source} {message.received_at:%Y%m%d%H}"
    return (
        (_is_result(message) and _row(INSERT_NEW_CONFIRMATION, [*values, None, message.body]))
        or _row(INSERT_UNDER_LIMIT, [*values, key, MOST_OF_A_URL, key])
        or _count_not_stored("limit_key", key)
    )


def _store_unknown(message: spool.Message, *, next_try_at: datetime) -> Callback:
    """Commit the bytes of a callback whose token is ours, but whose push or code check is not known.

    :raises EnoughStored: see _store
    """
    values, key = _values(message, next_try_at=next_try_at), message.token_hash
    row = (
        _row(INSERT_UNDER_LIMIT, [*values, key, MOST_OF_A_URL, key])
        or (_is_result(message) and _row(INSERT_NEW_OF_KEY, [*values, key, key, message.body]))
        or _count_not_stored("limit_key", key)
    )
    return _callback(message, row)


def _callback(message: spool.Message, row: tuple) -> Callback:
    return Callback(
        pk=row[0],
        push_id=row[1],
        code_check_id=row[2],
        source=message.source,
        body=message.body,
        headers=message.headers,
        received_at=message.received_at,
    )


def _insert(message: spool.Message, *, next_try_at: datetime, over_limit: bool = False) -> tuple | None:
    """Insert a callback of a push or code check, which its token finds; return None when it is over the limit."""
    insert = INSERT_STK if message.source == CallbackSource.STK else INSERT_CODE_CHECK
    return _row(insert, [*_values(message, next_try_at=next_try_at), message.token_hash, over_limit])


def _values(message: spool.Message, *, next_try_at: datetime) -> list[Any]:
    return [
        str(message.source),
        message.body,
        Jsonb(message.headers),
        message.peer,
        message.received_at,
        next_try_at,
    ]


def _row(statement: str, values: list[Any]) -> tuple | None:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        return cursor.fetchone()


def _store_over_limit(message: spool.Message, *, next_try_at: datetime) -> tuple | None:
    """Store a callback of a token that has its most callbacks, if it is a result that is not stored yet.

    Returns None when the token is unknown.

    :raises EnoughStored: it is no result, or a stored one; it was counted
    """
    is_push = message.source == CallbackSource.STK
    model = StkPush if is_push else CodeCheck
    owner_id = model.objects.filter(token_hash=message.token_hash).values_list("pk", flat=True).first()
    if owner_id is None:
        return None
    column = "push_id" if is_push else "code_check_id"
    stored = Callback.objects.filter(**{column: owner_id})
    if _is_result(message) and not stored.filter(body=message.body).exists():
        return _insert(message, next_try_at=next_try_at, over_limit=True)
    return _count_not_stored(column, owner_id)


def _count_not_stored(column: str, value: object) -> NoReturn:
    """Count a callback in the newest row of its URL, with a warning for the first.

    :raises EnoughStored: always
    """
    row = _row(COUNT_NOT_STORED.format(column=column), [value])
    if row == (1,):
        logger.warning("The callback URL of %s %s has enough: what is no new result is only counted.", column, value)
    raise EnoughStored


def _is_result(message: spool.Message) -> bool:
    """Return whether the bytes can be read as what is sent to this URL: a result, or a confirmation."""
    parse = RESULT_PARSERS.get(message.source)
    if parse is None:
        return False
    try:
        parse(message.body)
    except Malformed:
        return False
    except Exception:
        logger.exception("The reader of %s callbacks failed. The callback is stored.", message.source)
    return True


# --- Applying -------------------------------------------------------------------------------------


def _try_to_apply(stored: Callback, *, now: datetime) -> None:
    """Apply a callback that was just stored. When that fails, a worker tries again."""
    try:
        _with_lock_retries(partial(_apply, stored, now=now))
    except Exception:
        logger.exception("Callback %s could not be applied now. A worker tries again.", stored.pk)
        _record_failure(stored.pk, now=now)


def _apply_if_free(callback_id: int, *, now: datetime) -> bool:
    """Apply a callback that is still new and that no other worker has locked. Return whether it was decided."""
    new = Callback.objects.filter(pk=callback_id, outcome=CallbackOutcome.NEW)
    callback = new.select_for_update(no_key=True, skip_locked=True).first()
    if callback is None:
        return False
    if callback.attempts >= MOST_ATTEMPTS:
        _hold_for_review(callback_id, now=now)
    else:
        _apply(callback, now=now)
    return True


def _with_lock_retries(action: Callable[[], Returned]) -> Returned:
    """Run `action` in a transaction, and again in a new one when the locks of another transaction were in its way."""
    for tries_left in reversed(range(LOCK_TRIES)):
        try:
            with transaction.atomic():
                return action()
        except OperationalError as error:
            if not tries_left or not _is_lock_conflict(error):
                raise
    raise AssertionError("unreachable")


def _apply(callback: Callback, *, now: datetime) -> CallbackOutcome:
    """Apply a callback and write its outcome, in the caller's transaction."""
    applied = _apply_message(callback, now=now)
    with connection.cursor() as cursor:
        cursor.execute(WRITE_OUTCOME, [str(applied.outcome), applied.detail[:255], now, callback.pk])
    return applied.outcome


def _apply_message(callback: Callback, *, now: datetime) -> EvidenceOutcome:
    """Parse a callback's bytes and hand the message to the module that applies its kind."""
    body = bytes(callback.body)
    try:
        if callback.source == CallbackSource.STK and callback.push_id is not None:
            return stk_results.apply_stk_result(
                push_id=callback.push_id,
                result=parse_stk_callback(body),
                source="callback",
                now=now,
                callback_id=callback.pk,
                shortcode=callback.headers.get("Businessshortcode", ""),
            )
        if callback.source == CallbackSource.C2B_CONFIRMATION:
            return c2b_confirmations.apply_c2b(message=parse_c2b(body), now=now, callback_id=callback.pk)
        if callback.source == CallbackSource.CODE_CHECK and callback.code_check_id is not None:
            return code_checks.apply_result(
                check_id=callback.code_check_id, result=parse_status_result(body), now=now, callback_id=callback.pk
            )
        if callback.source == CallbackSource.CODE_CHECK_TIMEOUT and callback.code_check_id is not None:
            return code_checks.apply_timeout(check_id=callback.code_check_id, now=now)
        return _hold_unknown(callback, now=now)
    except Malformed as error:
        detail = f"This is not a message that Safaricom sends: {error}."
        review_items.open_item(
            reason=ReviewReason.UNREADABLE, detail=detail, push_id=callback.push_id, callback_id=callback.pk, now=now
        )
        return EvidenceOutcome(CallbackOutcome.REJECTED, detail)


def _hold_unknown(callback: Callback, *, now: datetime) -> EvidenceOutcome:
    """Open the review item for a callback with a token of ours whose push or code check is not known."""
    detail = _describe_unknown(callback)
    same = ReviewItem.objects.filter(reason=ReviewReason.UNKNOWN_CALLBACK, status=ReviewStatus.OPEN, detail=detail)
    if same.exclude(callback=callback).exists():
        return EvidenceOutcome(CallbackOutcome.DUPLICATE)
    review_items.open_item(reason=ReviewReason.UNKNOWN_CALLBACK, detail=detail, callback_id=callback.pk, now=now)
    return EvidenceOutcome(CallbackOutcome.REVIEW, detail)


def _describe_unknown(callback: Callback) -> str:
    """Return what such a callback says, in one sentence for staff.

    :raises Malformed: it is not a message that Safaricom sends
    """
    if callback.source == CallbackSource.STK:
        result = parse_stk_callback(bytes(callback.body))
        if result.receipt_code:
            said = f"KES {result.amount:,} was paid with M-Pesa code {result.receipt_code}"
        else:
            said = f"An STK push ended with result {result.result_code}"
        return f"{said}, but its STK push is not in the database ({result.merchant_request_id})."
    answer = parse_status_result(bytes(callback.body))
    about = f"of {answer.code}" if answer.code else f"with result {answer.result_code}"
    return f"Safaricom answered a code check {about}, but the check is not in the database ({answer.conversation_id})."


def _is_lock_conflict(error: OperationalError) -> bool:
    """Return whether the locks of another transaction were in the way, so that it is worth trying again at once."""
    conflicts = (psycopg.errors.DeadlockDetected, psycopg.errors.SerializationFailure, psycopg.errors.LockNotAvailable)
    return isinstance(error.__cause__, conflicts)


def _hold_for_review(callback_id: int, *, now: datetime) -> None:
    """Make a callback a review item after too many attempts."""
    detail = f"It could not be applied in {MOST_ATTEMPTS} attempts. Read the log, repair the cause, then replay it."
    review_items.open_item(reason=ReviewReason.UNREADABLE, detail=detail, callback_id=callback_id, now=now)
    Callback.objects.filter(pk=callback_id).update(outcome=CallbackOutcome.REVIEW, error=detail, processed_at=now)


def _record_failure(callback_id: int, *, now: datetime) -> None:
    """Count a failed attempt and set the time of the next one."""
    try:
        Callback.objects.filter(pk=callback_id).update(
            attempts=F("attempts") + 1, error="could not be applied", next_try_at=now + RETRY_DELAY
        )
    except DATABASE_ERRORS:
        logger.warning("Callback %s: the failed attempt could not be recorded.", callback_id)
