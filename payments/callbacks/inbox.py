"""The inbox: keep the bytes Safaricom sent, then act on them.

Safaricom delivers once and signs nothing. What arrives is committed (or, when the database is away, written to the
spool and fsynced) before it is parsed, and answered 200 only then.
"""

import logging
import threading
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import TypeVar

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
from django.db.models import F
from procrastinate.contrib.django import app as jobs
from procrastinate.exceptions import AlreadyEnqueued
from psycopg.types.json import Jsonb

from payments.callbacks import spool
from payments.daraja import callback_tokens
from payments.daraja.messages import Malformed, parse_c2b, parse_status_result, parse_stk_callback
from payments.desk import code_checks
from payments.evidence import c2b_confirmations, stk_results
from payments.evidence.outcomes import EvidenceOutcome
from payments.models import Callback, CallbackOutcome, CallbackSource, ReviewReason
from payments.services import review_items

logger = logging.getLogger(__name__)
Found = TypeVar("Found")

TRIES = 3  # of one callback at once, when locks clash
MOST_ATTEMPTS = 10  # of one callback in all, before a person looks
# How long whoever received a callback, or failed to apply it, keeps it from the workers.
TURN = timedelta(seconds=10)
# How many callbacks this process applies at once while Safaricom waits for the answer: Python runs one thing at a time,
# and who only wants their bytes kept waits for it. What finds no room is kept, answered, and left to a worker.
ROOM = threading.BoundedSemaphore(1)
APPLY_LEFT = "payments.apply_left"  # the job
CODE_CHECKS = (CallbackSource.CODE_CHECK, CallbackSource.CODE_CHECK_TIMEOUT)
HEADERS_KEPT = ("Content-Type", "Businessshortcode", "User-Agent")
# Away, read-only after a failover, in the midst of a migration: whatever it is, Safaricom does not send again.
DATABASE_FAILS = (DatabaseError, InterfaceError)

KEEP_STK = """
INSERT INTO payments_callback
    (source, push_id, body, headers, peer, received_at, next_try_at, outcome, error, attempts)
SELECT %s, id, %s, %s, %s, %s, %s, 'new', '', 0 FROM payments_stkpush WHERE token_hash = %s
RETURNING id, push_id, code_check_id
"""
KEEP_CODE_CHECK = """
INSERT INTO payments_callback
    (source, code_check_id, body, headers, peer, received_at, next_try_at, outcome, error, attempts)
SELECT %s, id, %s, %s, %s, %s, %s, 'new', '', 0 FROM payments_codecheck WHERE token_hash = %s
RETURNING id, NULL, code_check_id
"""
KEEP_C2B = """
INSERT INTO payments_callback
    (source, body, headers, peer, received_at, next_try_at, outcome, error, attempts)
VALUES (%s, %s, %s, %s, %s, %s, 'new', '', 0)
RETURNING id, push_id, code_check_id
"""
DECIDE = """
UPDATE payments_callback SET outcome = %s, error = %s, processed_at = %s, attempts = attempts + 1
WHERE id = %s AND outcome = 'new'
"""

IS_CALLED = "SELECT EXISTS (SELECT FROM procrastinate_jobs WHERE queueing_lock = %s AND status = 'todo')"


def receive(
    *,
    source: CallbackSource,
    body: bytes,
    headers: Mapping[str, str],
    peer: str | None,
    now: datetime,
    token: str | None = None,
) -> bool:
    """Keep a callback and act on it; return False when its token is nobody's (nothing is kept then).

    When this returns True, the bytes are committed or fsynced, whatever happens to this process next. What cannot be
    applied now, for want of room or because it failed, waits in the inbox for a worker.

    :raises spool.SpoolFull: neither the database nor the disk can keep it
    """
    message = spool.Message(
        source=source,
        body=body,
        headers={name: headers[name][:200] for name in HEADERS_KEPT if name in headers},
        peer=peer,
        received_at=now,
        token_hash=token and callback_tokens.hash_of(token),
    )
    has_room = ROOM.acquire(blocking=False)
    try:
        try:
            kept = _keep_over_any_connection(message, next_try_at=now + TURN if has_room else now)
        except DATABASE_FAILS as error:
            if token is not None and not callback_tokens.is_ours(token):
                return False
            logger.warning("The database fails (%s); a %s callback goes to the spool.", type(error).__name__, source)
            spool.append(message)
            return True
        if kept is None:
            return False
        if has_room:
            _apply_or_leave(kept, now=now)
        else:
            call_worker()
        return True
    finally:
        if has_room:
            ROOM.release()


def call_worker() -> None:
    """Let a worker apply at once what waits, unless a job that will see it waits too: one waits and one runs at most.

    Called after the commit of what waits. Should it fail, the next periodic run finds all the same.
    """
    try:
        with connection.cursor() as cursor:
            cursor.execute(IS_CALLED, [APPLY_LEFT])
            [is_called] = cursor.fetchone()
        if not is_called:
            jobs.configure_task(APPLY_LEFT).defer()
    except AlreadyEnqueued:
        return  # another process was quicker
    except Exception:
        logger.exception("No worker could be called to what waits in the inbox.")


def replay(*, callback_id: int, now: datetime) -> CallbackOutcome:
    """Apply a kept callback again whose first outcome was no success; raises what went wrong.

    What was applied, or was a duplicate, is left as it is. When it fails, the row stays as it was.

    :raises Callback.DoesNotExist: no such row
    """
    with transaction.atomic():
        callback = Callback.objects.select_for_update(no_key=True).get(pk=callback_id)
        if callback.outcome in (CallbackOutcome.APPLIED, CallbackOutcome.DUPLICATE):
            return CallbackOutcome(callback.outcome)
        Callback.objects.filter(pk=callback_id).update(outcome=CallbackOutcome.NEW)
        return _despite_clashes(partial(_apply, callback, now=now))


def apply_waiting(*, now: datetime, limit: int = 500) -> int:
    """Apply the callbacks whose turn it is, oldest first; one bad row never stops the rest.

    What another worker has in hand is passed over, so any number may do this at once. After ten attempts a callback
    becomes a review item. Returns how many were dealt with.
    """
    waiting = Callback.objects.filter(outcome=CallbackOutcome.NEW, next_try_at__lte=now)
    done = 0
    for callback_id in list(waiting.order_by("next_try_at", "pk").values_list("pk", flat=True)[:limit]):
        try:
            done += _despite_clashes(partial(_apply_unclaimed, callback_id, now=now))
        except Exception:
            logger.exception("Callback %s could not be applied; a later run tries again.", callback_id)
            _note_failure(callback_id, now=now)
    return done


def drain_spool(*, now: datetime) -> int:
    """Move what the spool holds into the inbox and act on it; return how many messages were moved.

    A message is removed from the disk only after its row is committed, so a crash in between keeps it twice, and the
    second counts as a duplicate. One that the database refuses is set aside; while the database fails, all wait.
    """
    moved = 0
    for path, message in spool.waiting():
        try:
            kept = _keep(message, next_try_at=now + TURN)
        except (DataError, IntegrityError):  # about this message alone
            logger.exception("Spool file %s cannot be kept.", path.name)
            spool.set_aside(path)
            continue
        except DATABASE_FAILS:
            logger.warning("The database fails; the spool waits.")
            break
        spool.remove(path)
        moved += 1
        if kept is None:
            logger.warning("A spooled callback's token is nobody's; it was dropped.")
            continue
        _apply_or_leave(kept, now=now)
    return moved


def _keep_over_any_connection(message: spool.Message, *, next_try_at: datetime) -> Callback | None:
    """Keep a callback, over a new connection when the one at hand turns out to be dead, or to lead to a standby.

    Kept twice when the first commit's answer was what got lost; the second then counts as a duplicate.
    """
    try:
        return _keep(message, next_try_at=next_try_at)
    except DATABASE_FAILS:
        if connection.in_atomic_block:
            raise
        connection.close()
        return _keep(message, next_try_at=next_try_at)


def _keep(message: spool.Message, *, next_try_at: datetime) -> Callback | None:
    """Commit a callback's bytes: one statement, which also finds the prompt or the question its token belongs to."""
    values = [
        str(message.source),
        message.body,
        Jsonb(message.headers),
        message.peer,
        message.received_at,
        next_try_at,
    ]
    with connection.cursor() as cursor:
        if message.source == CallbackSource.STK:
            cursor.execute(KEEP_STK, [*values, message.token_hash])
        elif message.source in CODE_CHECKS:
            cursor.execute(KEEP_CODE_CHECK, [*values, message.token_hash])
        else:
            cursor.execute(KEEP_C2B, values)
        row = cursor.fetchone()
    if row is None:
        return None
    return Callback(
        pk=row[0],
        push_id=row[1],
        code_check_id=row[2],
        source=message.source,
        body=message.body,
        headers=message.headers,
        received_at=message.received_at,
    )


def _apply_or_leave(kept: Callback, *, now: datetime) -> None:
    """Apply a callback just kept; when that fails, a worker tries again."""
    try:
        _despite_clashes(partial(_apply, kept, now=now))
    except Exception:
        logger.exception("Callback %s could not be applied now; a worker tries again.", kept.pk)
        _note_failure(kept.pk, now=now)


def _apply_unclaimed(callback_id: int, *, now: datetime) -> bool:
    """Apply a callback that is still new and that nobody else has in hand; return whether it was dealt with."""
    new = Callback.objects.filter(pk=callback_id, outcome=CallbackOutcome.NEW)
    callback = new.select_for_update(no_key=True, skip_locked=True).first()
    if callback is None:
        return False
    if callback.attempts >= MOST_ATTEMPTS:
        _give_up(callback_id, now=now)
    else:
        _apply(callback, now=now)
    return True


def _despite_clashes(act: Callable[[], Found]) -> Found:
    """Act in a transaction; when another's locks were in the way, again in a new one."""
    for tries_left in reversed(range(TRIES)):
        try:
            with transaction.atomic():
                return act()
        except OperationalError as error:
            if not tries_left or not _is_clash(error):
                raise
    raise AssertionError("unreachable")


def _apply(callback: Callback, *, now: datetime) -> CallbackOutcome:
    """Apply a callback and write what became of it, in the caller's transaction."""
    applied = _act_on(callback, now=now)
    with connection.cursor() as cursor:
        cursor.execute(DECIDE, [str(applied.outcome), applied.detail[:255], now, callback.pk])
    return applied.outcome


def _act_on(callback: Callback, *, now: datetime) -> EvidenceOutcome:
    body = bytes(callback.body)
    try:
        if callback.source == CallbackSource.STK:
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
        if callback.source == CallbackSource.CODE_CHECK:
            return code_checks.apply_result(
                check_id=callback.code_check_id, result=parse_status_result(body), now=now, callback_id=callback.pk
            )
        if callback.source == CallbackSource.CODE_CHECK_TIMEOUT:
            return code_checks.note_timeout(check_id=callback.code_check_id, now=now)
    except Malformed as error:
        why = f"Not a message Safaricom sends: {error}"
        review_items.open_item(
            reason=ReviewReason.UNREADABLE, detail=why, push_id=callback.push_id, callback_id=callback.pk, now=now
        )
        return EvidenceOutcome(CallbackOutcome.REJECTED, why)
    raise ValueError(f"Nothing acts on a {callback.source} callback.")


def _is_clash(error: OperationalError) -> bool:
    """Say whether another transaction's locks were in the way: worth trying again at once."""
    clashes = (psycopg.errors.DeadlockDetected, psycopg.errors.SerializationFailure, psycopg.errors.LockNotAvailable)
    return isinstance(error.__cause__, clashes)


def _give_up(callback_id: int, *, now: datetime) -> None:
    why = f"It could not be applied in {MOST_ATTEMPTS} attempts; see the log, then replay it."
    review_items.open_item(reason=ReviewReason.UNREADABLE, detail=why, callback_id=callback_id, now=now)
    Callback.objects.filter(pk=callback_id).update(outcome=CallbackOutcome.REVIEW, error=why, processed_at=now)


def _note_failure(callback_id: int, *, now: datetime) -> None:
    try:
        Callback.objects.filter(pk=callback_id).update(
            attempts=F("attempts") + 1, error="could not be applied", next_try_at=now + TURN
        )
    except DatabaseError:
        logger.warning("Callback %s: the failed attempt could not be noted.", callback_id)
