"""What money does to a period: paid grants it, gone back revokes it, withdrawn cancels it. Each twice is harmless.

The caller holds the payment's lock, as payments does whenever it tells news. Its payer's lock came before; another
payer's comes too late here, so what must happen to another payment is left to a job.
"""

from datetime import date, datetime

from django.db import transaction
from django.db.models import Exists, OuterRef
from procrastinate.contrib.django import app as jobs

from api.business_days import business_day
from payments.models import PaymentStatus, ReviewReason
from payments.services import allocation, cancellation, locks, review_items
from subscriptions.models import Decision, Fact, Freeze, Subscription, Visit
from subscriptions.periods import insert_period, new_period
from subscriptions.services.calendars import (
    granted_periods,
    lock_bought_periods,
    lock_visits,
    read_freezes_and_closures,
    rearrange,
    save,
)

STANDING = (Fact.PENDING, Fact.GRANTED)
LOST_VALUE = "The period this upgrade was paid with lost its money, so the upgrade was revoked too."


@transaction.atomic(savepoint=False)  # inside the money's transaction, where each listener has a savepoint
def grant_for_payment(*, payment_id: int, now: datetime) -> Subscription | None:
    """Give the period that the payment bought, from the day its deposit had come; None when it bought none.

    The deposit is the whole payment unless the plan asks for less first; what is still owed then changes no date.
    Money wins: a cancelled or revoked period is granted too, and a job tries the paid upgrade that lost it. A payment
    without its deposit grants nothing; nor does an upgrade's when the value that lowered it is gone, another took its
    place, or all it would give is over; and a person is told.
    """
    found = _lock_bought(payment_id)
    if found is None:
        return None
    subscription, chain = found
    if subscription.payment.deposit_paid_at is None:
        return subscription
    if subscription.fact != Fact.GRANTED:
        _grant_or_tell(subscription, chain, now=now)
    if subscription.fact == Fact.GRANTED and not subscription.payment.amount_owed:
        _try_paid_upgrades_of(subscription, chain)
    return subscription


@transaction.atomic(savepoint=False)
def revoke_for_payment(*, payment_id: int, now: datetime) -> Subscription | None:
    """Take back the period that has lost its deposit; the member's other periods keep their dates.

    An upgrade taken back gives the replaced period its time again. An upgrade lives off a period that was paid in
    full: when any of that money goes back the upgrade ends too, and a person is asked to look; one that waits for its
    payment ends by a job that commits with this. What waited for money that was refunded waits no more.
    """
    found = _lock_bought(payment_id)
    if found is None:
        return None
    subscription, chain = found
    payment = subscription.payment
    if subscription.fact == Fact.PENDING and payment.status == PaymentStatus.REFUNDED:
        mark_cancelled(subscription, now=now)
    elif subscription.fact == Fact.GRANTED and payment.deposit_paid_at is None:
        _revoke(subscription, chain, now=now)
    elif subscription.fact == Fact.GRANTED and payment.amount_owed:
        _end_upgrade_of(subscription, chain, now=now)
    return subscription


@transaction.atomic(savepoint=False)
def cancel_for_payment(*, payment_id: int, now: datetime) -> Subscription | None:
    """Withdraw the period whose payment was cancelled before it was paid."""
    found = _lock_bought(payment_id)
    if found is None:
        return None
    subscription, _ = found
    if subscription.payment.status == PaymentStatus.CANCELLED and subscription.fact == Fact.PENDING:
        mark_cancelled(subscription, now=now)
    return subscription


@transaction.atomic
def end_upgrade(*, subscription_id: int, now: datetime) -> None:
    """Cancel the payment of an upgrade that waits, when the period it lives off is not paid in full any more.

    Money that came for it meanwhile has granted nothing, and a person was told.
    """
    bought = Subscription.objects.only("payment_id").get(pk=subscription_id)
    payment = locks.lock_payment(bought.payment_id)
    chain = lock_bought_periods(payment.pk)
    upgrade = next(each for each in chain if each.pk == subscription_id)
    if upgrade.fact != Fact.PENDING or payment.status not in allocation.PAYABLE:
        return
    if not _is_paid_for(upgrade.replaces_id, chain):
        cancellation.cancel_payment(payment_id=payment.pk, by_id=upgrade.created_by_id, now=now)


def mark_cancelled(subscription: Subscription, *, now: datetime) -> None:
    """Mark a locked pending subscription as cancelled."""
    subscription.fact, subscription.ended_at = Fact.CANCELLED, now
    subscription.save(update_fields=["fact", "ended_at"])


def _lock_bought(payment_id: int) -> tuple[Subscription, list[Subscription]] | None:
    """Lock the periods of the member and group that a payment pays for; return the bought one and all of them."""
    chain = lock_bought_periods(payment_id)
    subscription = next((each for each in chain if each.payment_id == payment_id), None)
    return None if subscription is None else (subscription, chain)


def _is_paid_for(subscription_id: int, chain: list[Subscription]) -> bool:
    """Say whether the period of this id stands and nothing of it is owed."""
    found = next(each for each in chain if each.pk == subscription_id)
    return found.fact == Fact.GRANTED and not found.payment.amount_owed


def _other_upgrade_stands(upgrade: Subscription, chain: list[Subscription]) -> bool:
    """Say whether another upgrade replaces the same period, or waits to: a period is replaced once."""
    others = [each for each in chain if each.replaces_id is not None and each.pk != upgrade.pk]
    return any(each.replaces_id == upgrade.replaces_id and each.fact in STANDING for each in others)


def _try_paid_upgrades_of(replaced: Subscription, chain: list[Subscription]) -> None:
    """Tell again of upgrades that were paid and had lost what they live off: it is there again."""
    for each in chain:
        paid = each.payment.deposit_paid_at is not None
        if each.replaces_id == replaced.pk and each.fact != Fact.GRANTED and paid:
            jobs.configure_task("payments.retry_listeners").defer(payment_id=each.payment_id)


def _tell_of_lost_value(upgrade: Subscription, *, now: datetime) -> None:
    review_items.open_item(reason=ReviewReason.CONTRADICTION, detail=LOST_VALUE, payment_id=upgrade.payment_id, now=now)


def _grant_or_tell(subscription: Subscription, chain: list[Subscription], *, now: datetime) -> None:
    """Give what was paid for; where an upgrade cannot be given, tell a person."""
    if _other_upgrade_stands(subscription, chain):
        review_items.open_item(
            reason=ReviewReason.CONTRADICTION,
            detail="Another upgrade has taken the place of this one; give its money back.",
            payment_id=subscription.payment_id,
            now=now,
        )
    elif not subscription.value_carried:
        _grant(subscription, chain, now=now)
    elif not _is_paid_for(subscription.replaces_id, chain):
        _tell_of_lost_value(subscription, now=now)
    elif _is_over_when_paid(subscription, chain):
        if subscription.fact == Fact.PENDING:
            mark_cancelled(subscription, now=now)
        cancellation.reject_late_payment(
            payment_id=subscription.payment_id,
            reason="The upgrade was paid when its time was over; the money is kept as the member's credit.",
            now=now,
        )
    else:
        _grant(subscription, chain, now=now)


def _grant(subscription: Subscription, chain: list[Subscription], *, now: datetime) -> None:
    if subscription.joining_fee and any(each.fact == Fact.GRANTED and each.joining_fee for each in chain):
        # The other was expired when this one was bought, and its money came late.
        review_items.open_item(
            reason=ReviewReason.LATE_MONEY,
            detail=f"The joining fee of KES {subscription.joining_fee:,} was paid twice; give it back.",
            payment_id=subscription.payment_id,
            now=now,
        )
    first_day = _paid_on(subscription)
    if subscription.replaces_id is not None:
        first_day = _cut_replaced(subscription, chain) or first_day
        review_items.close_for_payment(
            payment_id=subscription.payment_id,
            reason=ReviewReason.CONTRADICTION,
            detail=LOST_VALUE,
            resolution="The money is there again.",
            now=now,
        )
    standing = granted_periods(chain)
    before = max(
        (each for each in chain if each.fact == Fact.GRANTED and each.ends_on <= first_day),
        key=lambda each: each.ends_on,
        default=None,
    )
    subscription.fact, subscription.granted_at, subscription.ended_at = Fact.GRANTED, now, None
    still = read_freezes_and_closures([chain])  # of one granted before, the days it was frozen too
    period = new_period(
        subscription.pk,
        subscription.interval,
        subscription.interval_count,
        starts_on=first_day,
        not_before=first_day,
    )
    laid = insert_period(
        period,
        to=standing,
        frozen=still.frozen_days_of(chain),
        paid_on=first_day,
        grace_days=before.grace_days if before and before.leaving_at is None else 0,
        late=subscription.late_renewal,
    )
    save([chain], [laid], still, changed=[subscription])


def _paid_on(subscription: Subscription) -> date:
    return business_day(subscription.payment.deposit_paid_at)


def _replaced_by(upgrade: Subscription, chain: list[Subscription]) -> Subscription:
    return next(each for each in chain if each.pk == upgrade.replaces_id)


def _takes_over_on(upgrade: Subscription, replaced: Subscription) -> date:
    return max(business_day(upgrade.created_at), replaced.starts_on)


def _is_over_when_paid(upgrade: Subscription, chain: list[Subscription]) -> bool:
    """Say whether the upgrade, which counts from the day it was asked for, would give nothing but days gone by.

    Or next to nothing: its payment had expired, and what it would replace had run to its end.
    """
    replaced, payment = _replaced_by(upgrade, chain), upgrade.payment
    begins = _takes_over_on(upgrade, replaced)
    whole = new_period(upgrade.pk, upgrade.interval, upgrade.interval_count, starts_on=begins, not_before=begins)
    expired = payment.deposit_paid_at > payment.expires_at and replaced.ends_on <= _paid_on(upgrade)
    return expired or whole.ends_on <= _paid_on(upgrade)


def _cut_replaced(upgrade: Subscription, chain: list[Subscription]) -> date | None:
    """End the replaced period on the day its unused value was reckoned; return that day, None if it is gone or over.

    From that day on the member has what the upgrade gives, so no day is had twice and none is lost.
    """
    replaced = _replaced_by(upgrade, chain)
    if replaced.fact != Fact.GRANTED or replaced.cut_on is not None or _is_over_when_paid(upgrade, chain):
        return None
    replaced.cut_on = replaced.ends_on = _takes_over_on(upgrade, replaced)
    running = Freeze.objects.with_last_day().filter(subscription=replaced, starts_on__lt=replaced.cut_on)
    running.filter(until__gt=replaced.cut_on).update(ended_early_on=replaced.cut_on)
    replaced.save(update_fields=["cut_on", "ends_on"])
    _move_visits(replaced, to=upgrade, since=upgrade.created_at)
    return replaced.cut_on


def _move_visits(left: Subscription, *, to: Subscription, since: datetime) -> None:
    """Count what was entered since the upgrade was asked for where it is paid from; a pack takes what it has left."""
    lock_visits(left.member_id)
    entered = Visit.objects.filter(decision=Decision.ALLOW)
    ids = list(entered.filter(subscription=left, at__gte=since).order_by("at", "pk").values_list("pk", flat=True))
    if ids and to.visits is not None:
        ids = ids[: max(to.visits - entered.filter(subscription=to).count(), 0)]
    Visit.objects.filter(pk__in=ids).update(subscription=to)


def _revoke(subscription: Subscription, chain: list[Subscription], *, now: datetime) -> None:
    changed = [each for each in chain if each.fact == Fact.GRANTED and each.starts_on > subscription.starts_on]
    for each in changed:
        each.not_before = each.starts_on  # it keeps its date although the days before it fall free
    subscription.fact, subscription.ended_at = Fact.REVOKED, now
    subscription.save(update_fields=["fact", "ended_at"])
    replaced = next((each for each in chain if each.pk == subscription.replaces_id), None)
    if replaced is not None and replaced.fact == Fact.GRANTED and replaced.cut_on is not None:
        replaced.cut_on, replaced.ends_on = None, replaced.base_ends_on
        changed.append(replaced)
    if replaced is not None:
        _give_freezes_back(subscription, replaced)
        _move_visits(subscription, to=replaced, since=subscription.created_at)
    rearrange(chain, changed=changed)
    _end_upgrade_of(subscription, chain, now=now)


def _give_freezes_back(upgrade: Subscription, replaced: Subscription) -> None:
    """Point the upgrade's freezes at the replaced period: it stands on their days again, or will once it is paid."""
    frozen = Freeze.objects.with_last_day().filter(
        subscription=replaced, starts_on__lt=OuterRef("until"), until__gt=OuterRef("starts_on")
    )
    mine = Freeze.objects.with_last_day().filter(~Exists(frozen), subscription=upgrade)
    Freeze.objects.filter(pk__in=list(mine.values_list("pk", flat=True))).update(subscription=replaced)


def _end_upgrade_of(replaced: Subscription, chain: list[Subscription], *, now: datetime) -> None:
    """Revoke the upgrade that lives off a period of which money went back, or see to it that it waits no more."""
    for each in [each for each in chain if each.replaces_id == replaced.pk]:
        if each.fact == Fact.PENDING:
            jobs.configure_task("subscriptions.end_upgrade").defer(subscription_id=each.pk)
        elif each.fact == Fact.GRANTED:
            _tell_of_lost_value(each, now=now)
            _revoke(each, chain, now=now)
