"""The gate: decide whether a member may enter now, and why, and how much to pay. A check-in takes three queries."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import partial

from django.contrib.auth import get_user_model
from django.db import models, transaction
from django.db.models import F, Func, IntegerField, Max, OuterRef, Q, QuerySet, Subquery, TextField, Value
from django.db.models.functions import Cast, Greatest

from api import advisory_locks
from api.business_days import NAIROBI, business_day
from api.errors import NotFound
from api.statements import WrittenOnce
from payments.services import credit
from payments.services.allocation import PAYABLE
from subscriptions.models import Closure, Decision, Fact, Freeze, Subscription, Visit
from subscriptions.querysets import AWAITING_PAYMENT
from subscriptions.services import renewals
from subscriptions.services.grants import start_after_used_up_pack
from subscriptions.statuses import Status

SAME_VISIT_WITHIN = timedelta(minutes=1)  # two taps within this time are one visit
LOOK_BACK = timedelta(days=366)  # periods that ended earlier are ignored


class MemberNotFound(NotFound):
    """No active user has this member number."""

    code, message = "member_not_found", "No member has this number. Check the number."


class Reason(models.TextChoices):
    """The reason for an answer of the gate."""

    ACTIVE = "active"
    GRACE = "grace"  # allowed, with a warning that the period has ended
    WRONG_TIME = "wrong_time"  # outside the plan's hours
    FROZEN = "frozen"
    VISITS_USED_UP = "visits_used_up"
    DEBT = "debt"  # the payment for today was reversed or refunded
    NOT_STARTED = "not_started"
    UNPAID = "unpaid"  # bought, but not paid
    EXPIRED = "expired"
    NO_SUBSCRIPTION = "no_subscription"


# The best reason first: one good period is enough to enter, whatever the others are.
PRECEDENCE = list(Reason)


@dataclass(frozen=True)
class Answer:
    """The answer of the gate. `until`: the last day of `reason`. `amount_to_pay`: whole KES, to account `reference`."""

    decision: Decision
    reason: Reason
    until: date | None
    amount_to_pay: int | None
    reference: str | None
    member_id: int
    member_name: str


class _MayOpen(Exception):
    """Paid time or credit may let the member in. `start_or_renew` does it, in a transaction of its own."""

    def __init__(self, start_or_renew: Callable[[], None]) -> None:
        self.start_or_renew = start_or_renew


def check_in(*, member_number: str, recorded_by_id: int | None, now: datetime, gate: str = "") -> Answer:
    """Decide whether the member may enter, and record the visit. A second tap within a minute is the same visit.

    A member outside whose credit covers what the gate would ask for is renewed first, and a paid period that waits for
    the end of a used-up visit pack starts.

    :raises MemberNotFound: no active user has this member number
    """
    decide = partial(_decide, member_number=member_number, recorded_by_id=recorded_by_id, now=now, gate=gate)
    try:
        return decide(may_settle=True)
    except _MayOpen as found:
        found.start_or_renew()
    return decide(may_settle=False)


@transaction.atomic
def _decide(*, member_number: str, recorded_by_id: int | None, now: datetime, gate: str, may_settle: bool) -> Answer:
    """Decide and record as check_in.

    :raises _MayOpen: `may_settle` is set, and paid time or credit may open the gate; nothing was recorded
    """
    member = next(iter(_find_member(member_number)), None)
    if member is None:
        raise MemberNotFound
    periods = _relevant_periods(member.pk, now)
    reasons = [(_reason(each, now), each) for each in periods]
    # If a pack and an unlimited period both open the gate, choose the unlimited one, so that no visit is spent.
    reasons.sort(key=lambda row: (PRECEDENCE.index(row[0]), row[1].visits is not None))
    reason, best = reasons[0] if reasons else (Reason.NO_SUBSCRIPTION, None)
    tapped = next((each for each in periods if each.tapped_at is not None), None)
    if tapped is not None and reason == Reason.VISITS_USED_UP:
        reason, best = Reason.ACTIVE, tapped  # the second tap of the last visit of the pack
    may_enter = reason in (Reason.ACTIVE, Reason.GRACE)
    decision = Decision.ALLOW if may_enter else Decision.DENY
    if may_settle and reason == Reason.VISITS_USED_UP and best is not None and _has_later(best, periods):
        group_id = best.group_id
        raise _MayOpen(partial(start_after_used_up_pack, member_id=member.pk, group_id=group_id, now=now))
    amount, reference = _amount_to_pay(periods, best, reason, member.member_number)
    if amount is not None and not may_enter:
        # None when the credit covers it: something else than money keeps the member outside then.
        amount = max(amount - credit.available(member.pk), 0) or None
        if amount is None and may_settle:
            raise _MayOpen(partial(renewals.renew_at_gate, member_id=member.pk, now=now))
    if not (may_enter and tapped is not None):
        Visit.objects.create(
            member_id=member.pk,
            subscription=best if may_enter else None,
            at=now,
            decision=decision,
            reason=reason,
            gate=gate,
            recorded_by_id=recorded_by_id,
        )
    return Answer(
        decision=decision,
        reason=reason,
        until=_last_day(best, reason),
        amount_to_pay=amount,
        reference=reference,
        member_id=member.pk,
        member_name=member.get_full_name(),
    )


def _relevant_periods(member_id: int, now: datetime) -> list[Subscription]:
    """Return the member's periods that matter for the gate, with their status and the time of a tap just before."""
    today = business_day(now)
    return _find_periods(member_id, today, today - LOOK_BACK, now - SAME_VISIT_WITHIN, now)


def _periods(
    member_id: int, today: date, ended_after: date, tapped_after: datetime, tapped_until: datetime
) -> QuerySet:
    taps = Visit.objects.filter(
        subscription=OuterRef("pk"), decision=Decision.ALLOW, at__gt=tapped_after, at__lte=tapped_until
    )
    matters = AWAITING_PAYMENT | Q(fact__in=(Fact.GRANTED, Fact.REVOKED), ends_on__gt=ended_after)
    # At most one freeze and one closure cover a day.
    freeze = Freeze.objects.covering(today).filter(subscription=OuterRef("pk")).values("until")
    closure = Closure.objects.filter(starts_on__lte=today, ends_on__gt=today).values("ends_on")
    return (
        Subscription.objects.filter(matters, member=member_id, group__opens_gate=True)
        .with_status(today)
        .annotate(
            tapped_at=Subquery(taps.order_by().values("subscription").annotate(last=Max("at")).values("last")),
            frozen_until=Greatest(Subquery(freeze), Subquery(closure)),
        )
        .select_related("plan", "payment", "next_plan")
        .order_by(F("ends_on").desc(nulls_last=True), "pk")
    )


def _member(member_number: str) -> QuerySet:
    # The lock of lock_visits, so that a tap sees the tap before it, and payments and freezes until now. A lock of the
    # member's row is not enough: the payer of an upgrade, who locks their own row, may be somebody else.
    lock = Func(
        Value(advisory_locks.VISITS),
        Cast("pk", IntegerField()),
        function="pg_advisory_xact_lock",
        output_field=TextField(),
    )
    return get_user_model().objects.annotate(lock=lock).filter(member_number=member_number, is_active=True)


# Written once, because the ORM takes longer to build these two queries than PostgreSQL takes to answer them.
_find_member = WrittenOnce(_member, stand_ins=["-"])
_find_periods = WrittenOnce(
    _periods,
    stand_ins=[-1, date(1, 1, 1), date(1, 1, 2), datetime(1, 1, 1, tzinfo=UTC), datetime(1, 1, 2, tzinfo=UTC)],
)


def _reason(subscription: Subscription, now: datetime) -> Reason:
    """Return the reason to allow or deny entry that follows from this one period."""
    status = subscription.status
    if status in (Status.ACTIVE, Status.GRACE):
        return Reason(status) if _is_within_hours(subscription, now.astimezone(NAIROBI).time()) else Reason.WRONG_TIME
    if status == Status.REVOKED:
        return Reason.DEBT if subscription.covers(business_day(now)) else Reason.EXPIRED
    return {
        Status.FROZEN: Reason.FROZEN,
        Status.EXHAUSTED: Reason.VISITS_USED_UP,
        Status.SCHEDULED: Reason.NOT_STARTED,
        Status.PENDING: Reason.UNPAID,
        Status.EXPIRED: Reason.EXPIRED,
    }[Status(status)]


def _has_later(pack: Subscription, periods: list[Subscription]) -> bool:
    """Return whether a paid period of the pack's group waits for its end."""
    return any(each.group_id == pack.group_id and each.status == Status.SCHEDULED for each in periods)


def _is_within_hours(subscription: Subscription, at: time) -> bool:
    opens_at, closes_at = subscription.opens_at, subscription.closes_at
    return opens_at is None or closes_at is None or opens_at <= at < closes_at


def _last_day(best: Subscription | None, reason: Reason) -> date | None:
    """Return the last day of access, of the freeze, or before the start; None for other reasons."""
    if best is None:
        return None
    ends = {
        Reason.ACTIVE: best.ends_on,
        Reason.GRACE: best.ends_on,
        Reason.FROZEN: best.frozen_until,
        Reason.NOT_STARTED: best.starts_on,
    }
    end, grace_days = ends.get(reason), best.grace_days if reason == Reason.GRACE else 0
    return None if end is None else end + timedelta(days=grace_days - 1)


def _amount_to_pay(
    periods: list[Subscription], best: Subscription | None, reason: Reason, member_number: str
) -> tuple[int | None, str | None]:
    """Return the amount to pay in KES, and the account number for it.

    For a running period it is what is still owed for that period. Otherwise it is an open payment that gives access;
    without one it is the price of the renewal, if the plan is on sale, to the member number. Where money does not open
    the gate, because of a freeze or the hours of the plan, nothing is asked.
    """
    if best is None:
        return None, member_number
    if reason in (Reason.FROZEN, Reason.WRONG_TIME):
        return None, None
    is_running = best.status in (Status.ACTIVE, Status.FROZEN)
    for each in [best] if is_running else periods:
        gives_access = each.fact in (Fact.PENDING, Fact.GRANTED) or (each is best and reason == Reason.DEBT)
        if gives_access and each.payment.amount_owed and each.payment.status in PAYABLE:
            return each.payment.amount_owed, each.payment.reference
    if is_running or best.status == Status.SCHEDULED:
        return None, None
    plan = best.next_plan or best.plan
    return plan.price if plan.is_on_sale else None, member_number
