"""Cash sessions: a cashier's drawer from its opening float to its count. A difference becomes a review item."""

from datetime import datetime

from django.db import IntegrityError, transaction
from django.db.models import Max, Sum

from api.errors import Conflict
from payments.models import CashSession, Receipt, Refund, ReviewReason
from payments.services import ledger, review_items


class SessionOpen(Conflict):
    """A cashier has one open cash session at a time."""

    code, message = "session_open", "Your cash drawer is already open."


class NoOpenSession(Conflict):
    """Cash needs an open cash session of the person who takes or returns it."""

    code, message = "no_open_session", "Your cash drawer is closed. Open it at the cash desk first."


class SessionCounted(Conflict):
    """A cash session is counted once."""

    code, message = "session_counted", "This cash drawer was already counted and closed."


def open_session(*, cashier_id: int, opening_float: int, now: datetime) -> CashSession:
    """Open a cash session with `opening_float` whole KES in the drawer.

    :raises SessionOpen: the cashier has an open session
    """
    try:
        with transaction.atomic():
            return CashSession.objects.create(cashier_id=cashier_id, opening_float=opening_float, opened_at=now)
    except IntegrityError:
        raise SessionOpen from None


@transaction.atomic
def close_session(
    *, cashier_id: int, counted: int, now: datetime, note: str = "", session_id: int | None = None
) -> CashSession:
    """Close the cashier's open session with `counted` whole KES. A difference becomes a review item and a ledger entry.

    :raises SessionCounted: `session_id` is given and is not the open session
    :raises NoOpenSession: the cashier has no open session
    """
    if session_id and CashSession.objects.filter(pk=session_id, closed_at__isnull=False).exists():
        raise SessionCounted
    session = lock_session(cashier_id)
    if session_id not in (None, session.pk):
        raise SessionCounted
    # Concurrent requests may carry out-of-order times: each void of the session is either before or after its count.
    now = max(now, session.receipts.aggregate(last=Max("reversed_at"))["last"] or now)
    session.expected = expected_cash(session)
    session.counted, session.closed_at, session.note = counted, now, note[:255]
    session.save(update_fields=["expected", "counted", "closed_at", "note"])
    if session.difference:
        side = "over" if session.difference > 0 else "short"
        detail = f"Cash session {session.pk} was counted KES {abs(session.difference)} {side}."
        # The detail names the session: this item has neither a receipt nor a payment.
        review_items.create_item(reason=ReviewReason.CASH_DIFFERS, detail=detail, now=now)
        ledger.post_drawer_difference(session, at=now)
    return session


def expected_cash(session: CashSession) -> int:
    """Return the whole KES that should be in the drawer: its float and live cash receipts, less cash refunds."""
    received = Receipt.objects.filter(cash_session=session, reversed_at__isnull=True)
    returned = Refund.objects.filter(cash_session=session)
    total = Sum("amount", default=0)
    return session.opening_float + received.aggregate(total=total)["total"] - returned.aggregate(total=total)["total"]


def lock_session(cashier_id: int) -> CashSession:
    """Lock and return the cashier's open session.

    :raises NoOpenSession: there is none
    """
    open_ones = CashSession.objects.filter(cashier_id=cashier_id, closed_at__isnull=True)
    session = open_ones.select_for_update(no_key=True).first()
    if session is None:
        raise NoOpenSession
    return session
