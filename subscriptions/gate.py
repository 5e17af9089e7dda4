"""The gate: who may come in now, and if not, why and what to pay. Three statements an answer."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from django.contrib.auth import get_user_model
from django.db import models, transaction
from django.db.models import F, Func, IntegerField, Max, OuterRef, Q, QuerySet, Subquery, TextField, Value
from django.db.models.functions import Cast, Greatest

from api import advisory_locks
from api.business_days import NAIROBI, business_day
from api.errors import NotFound
from api.statements import WrittenOnce
from payments.services.allocation import PAYABLE
from subscriptions.models import Closure, Decision, Fact, Freeze, Subscription, Visit
from subscriptions.querysets import AWAITING_PAYMENT
from subscriptions.statuses import Status

# Two taps within this time are one visit.
ONE_VISIT = timedelta(minutes=1)
# What ended longer ago is not looked at.
MEMORY = timedelta(days=366)


class MemberNotFound(NotFound):
    """No active member has this number."""

    code, message = "member_not_found", "No member has this number."


class Reason(models.TextChoices):
    """Why the gate answered as it did."""

    ACTIVE = "active"
    GRACE = "grace"  # let in, with a warning: it is over
    WRONG_TIME = "wrong_time"  # outside the plan's hours
    FROZEN = "frozen"
    VISITS_USED_UP = "visits_used_up"
    DEBT = "debt"  # the money for today went back
    NOT_STARTED = "not_started"
    UNPAID = "unpaid"  # bought, the money is still to come
    EXPIRED = "expired"
    NO_SUBSCRIPTION = "no_subscription"


# The best reason first: one good period lets a member in, whatever the others are.
PRECEDENCE = list(Reason)


@dataclass(frozen=True)
class Answer:
    """What the gate shows. `until`: the last day on which it holds; `amount_to_pay`: whole KES, paid to `reference`."""

    decision: Decision
    reason: Reason
    until: date | None
    amount_to_pay: int | None
    reference: str | None
    member_id: int
    member_name: str


@transaction.atomic
def check_in(*, member_number: str, recorded_by_id: int | None, now: datetime, gate: str = "") -> Answer:
    """Decide whether the member may enter, and record the visit. A second tap within a minute is the same visit.

    :raises MemberNotFound: nobody active has this number
    """
    member = next(iter(_find_member(member_number)), None)
    if member is None:
        raise MemberNotFound
    known = _known(member.pk, now)
    reasons = [(_reason(each, now), each) for each in known]
    # Of two that open the gate, one without a pack, so that none of the pack's visits is spent.
    reasons.sort(key=lambda row: (PRECEDENCE.index(row[0]), row[1].visits is not None))
    reason, best = reasons[0] if reasons else (Reason.NO_SUBSCRIPTION, None)
    tapped = next((each for each in known if each.tapped_at is not None), None)
    if tapped is not None and reason == Reason.VISITS_USED_UP:
        reason, best = Reason.ACTIVE, tapped  # the pack's last visit, tapped twice
    may_enter = reason in (Reason.ACTIVE, Reason.GRACE)
    decision = Decision.ALLOW if may_enter else Decision.DENY
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
    amount, reference = _to_pay(known, best, reason, member.member_number)
    return Answer(
        decision=decision,
        reason=reason,
        until=_last_day(best, reason),
        amount_to_pay=amount,
        reference=reference,
        member_id=member.pk,
        member_name=member.get_full_name(),
    )


def _known(member_id: int, now: datetime) -> list[Subscription]:
    """Return the member's periods that may matter at the gate, with their status and a tap just before."""
    today = business_day(now)
    return _find_periods(member_id, today, today - MEMORY, now - ONE_VISIT, now)


def _periods(
    member_id: int, today: date, forgotten_until: date, tapped_after: datetime, tapped_until: datetime
) -> QuerySet:
    taps = Visit.objects.filter(
        subscription=OuterRef("pk"), decision=Decision.ALLOW, at__gt=tapped_after, at__lte=tapped_until
    )
    matters = AWAITING_PAYMENT | Q(fact__in=(Fact.GRANTED, Fact.REVOKED), ends_on__gt=forgotten_until)
    # Of each kind one at most covers a day.
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
    # As lock_visits: a tap sees the tap before it, and what was paid or frozen meanwhile. The member's row would not
    # do: whoever pays for an upgrade holds their own.
    alone = Func(
        Value(advisory_locks.VISITS),
        Cast("pk", IntegerField()),
        function="pg_advisory_xact_lock",
        output_field=TextField(),
    )
    return get_user_model().objects.annotate(alone=alone).filter(member_number=member_number, is_active=True)


# Somebody waits at every tap: the ORM would take longer to write these two than PostgreSQL to answer them.
_find_member = WrittenOnce(_member, stand_ins=["-"])
_find_periods = WrittenOnce(
    _periods,
    stand_ins=[-1, date(1, 1, 1), date(1, 1, 2), datetime(1, 1, 1, tzinfo=UTC), datetime(1, 1, 2, tzinfo=UTC)],
)


def _reason(subscription: Subscription, now: datetime) -> Reason:
    """Return what this one period says of its member at the gate."""
    status = subscription.status
    if status in (Status.ACTIVE, Status.GRACE):
        return Reason(status) if _is_open(subscription, now.astimezone(NAIROBI).time()) else Reason.WRONG_TIME
    if status == Status.REVOKED:
        today = business_day(now)
        return Reason.DEBT if subscription.starts_on <= today < subscription.ends_on else Reason.EXPIRED
    return {
        Status.FROZEN: Reason.FROZEN,
        Status.EXHAUSTED: Reason.VISITS_USED_UP,
        Status.SCHEDULED: Reason.NOT_STARTED,
        Status.PENDING: Reason.UNPAID,
        Status.EXPIRED: Reason.EXPIRED,
    }[Status(status)]


def _is_open(subscription: Subscription, at: time) -> bool:
    return subscription.opens_at is None or subscription.opens_at <= at < subscription.closes_at


def _last_day(best: Subscription | None, reason: Reason) -> date | None:
    """Return the last day let in, or the last one of the freeze or of waiting for the first."""
    if best is None or reason not in (Reason.ACTIVE, Reason.GRACE, Reason.FROZEN, Reason.NOT_STARTED):
        return None
    first_day_after = {
        Reason.ACTIVE: best.ends_on,
        Reason.GRACE: best.ends_on + timedelta(days=best.grace_days),
        Reason.FROZEN: best.frozen_until,
        Reason.NOT_STARTED: best.starts_on,
    }[reason]
    return first_day_after - timedelta(days=1)


def _to_pay(
    known: list[Subscription], best: Subscription | None, reason: Reason, member_number: str
) -> tuple[int | None, str | None]:
    """Return what is to be paid, and to which account.

    Of time that is paid for, what is still owed of it. Else the open payment that would let the member in; else the
    renewal, if it can be bought, under the member number.
    """
    if best is None:
        return None, member_number
    stands = best.status in (Status.ACTIVE, Status.FROZEN)
    for each in [best] if stands else known:
        opens = each.fact in (Fact.PENDING, Fact.GRANTED) or (each is best and reason == Reason.DEBT)
        if opens and each.payment.amount_owed and each.payment.status in PAYABLE:
            return each.payment.amount_owed, each.payment.reference
    if stands or best.status == Status.SCHEDULED:
        return None, None
    plan = best.next_plan or best.plan
    return plan.price if plan.is_on_sale else None, member_number
