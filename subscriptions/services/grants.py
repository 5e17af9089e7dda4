"""Grants: access follows the money of a payment. Paid grants the period, reversed revokes it, cancelled cancels it.

Every function may be repeated. The payments app calls them with the payment and its payer locked. Another payer can no
longer be locked then, so a change of another payment is left to a job.
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
    as_period,
    granted_periods,
    lock_chain_of_payment,
    lock_periods,
    lock_visits,
    read_freezes_and_closures,
    rearrange,
    save_dates,
)

LOST_VALUE = "The period that this upgrade replaces is not paid in full any more, so the upgrade gives no access."


@transaction.atomic(savepoint=False)  # in the transaction of the money, where each listener has a savepoint
def grant_for_payment(*, payment_id: int, now: datetime) -> Subscription | None:
    """Grant the period that the payment buys, once its minimum payment is paid. Return it, or None if it buys none.

    The minimum payment is the whole amount unless the plan asks for less. The period starts on the day when it was
    reached; later money changes no date. A period that was revoked, or cancelled because its payment had
    expired, is granted too.

    An upgrade is not granted when the replaced period is not paid in full, another upgrade replaced it, or the whole
    upgrade would be in the past. Then a review item is opened, or the money becomes credit. When the replaced period is
    paid in full again, a job grants the upgrade.
    """
    found = _lock_period_and_chain(payment_id)
    if found is None:
        return None
    subscription, chain = found
    if subscription.payment.deposit_paid_at is None:
        return subscription
    if subscription.fact != Fact.GRANTED:
        _grant_or_review(subscription, chain, now=now)
    if subscription.fact == Fact.GRANTED and not subscription.payment.amount_owed:
        _retry_paid_upgrades_of(subscription, chain)
    return subscription


@transaction.atomic(savepoint=False)
def revoke_for_payment(*, payment_id: int, now: datetime) -> Subscription | None:
    """Revoke the period if its payment fell below the minimum payment. The member's other periods keep their dates.

    When an upgrade is revoked, the replaced period runs again. An upgrade also depends on the replaced period being
    paid in full: when any of that money goes back, a granted upgrade is revoked and a review item opened, and the
    payment of a pending one is cancelled by a job. A pending period of a refunded payment is cancelled.
    """
    found = _lock_period_and_chain(payment_id)
    if found is None:
        return None
    subscription, chain = found
    payment = subscription.payment
    if subscription.fact == Fact.PENDING and payment.status == PaymentStatus.REFUNDED:
        mark_cancelled(subscription, now=now)
    elif subscription.fact == Fact.GRANTED and payment.deposit_paid_at is None:
        _revoke(subscription, chain, now=now)
    elif subscription.fact == Fact.GRANTED and payment.amount_owed:
        _end_upgrades_of(subscription, chain, now=now)
    return subscription


@transaction.atomic(savepoint=False)
def cancel_for_payment(*, payment_id: int, now: datetime) -> Subscription | None:
    """Cancel the pending period of a cancelled payment."""
    found = _lock_period_and_chain(payment_id)
    if found is None:
        return None
    subscription, _ = found
    if subscription.payment.status == PaymentStatus.CANCELLED and subscription.fact == Fact.PENDING:
        mark_cancelled(subscription, now=now)
    return subscription


@transaction.atomic
def end_upgrade(*, subscription_id: int, now: datetime) -> None:
    """Cancel the payment of a pending upgrade if the replaced period is not paid in full any more.

    If the upgrade was paid meanwhile, nothing happens: that payment was not granted, and a review item is open.
    """
    bought = Subscription.objects.only("payment_id").get(pk=subscription_id)
    payment = locks.lock_payment(bought.payment_id)
    chain = lock_chain_of_payment(payment.pk)
    upgrade = _find(chain, subscription_id)
    if upgrade.fact != Fact.PENDING or payment.status not in allocation.PAYABLE:
        return
    if not _is_granted_and_paid(_find(chain, upgrade.replaces_id)):
        cancellation.cancel_payment(payment_id=payment.pk, by_id=upgrade.created_by_id, now=now)


def mark_cancelled(subscription: Subscription, *, now: datetime) -> None:
    """Record a locked pending subscription as cancelled."""
    subscription.fact, subscription.ended_at = Fact.CANCELLED, now
    subscription.save(update_fields=["fact", "ended_at"])


def _lock_period_and_chain(payment_id: int) -> tuple[Subscription, list[Subscription]] | None:
    """Lock the chain of the period that a payment buys. Return the period and the chain, or None if it buys none."""
    chain = lock_chain_of_payment(payment_id)
    subscription = next((each for each in chain if each.payment_id == payment_id), None)
    return None if subscription is None else (subscription, chain)


def _find(chain: list[Subscription], subscription_id: int | None) -> Subscription:
    """Return the period of this id, which is in the chain."""
    return next(each for each in chain if each.pk == subscription_id)


def _is_granted_and_paid(subscription: Subscription) -> bool:
    return subscription.fact == Fact.GRANTED and not subscription.payment.amount_owed


def _has_other_upgrade(upgrade: Subscription, chain: list[Subscription]) -> bool:
    """Return whether another pending or granted upgrade replaces the same period. There can be only one."""
    return any(
        each.replaces_id is not None
        and each.replaces_id == upgrade.replaces_id
        and each.pk != upgrade.pk
        and each.fact in (Fact.PENDING, Fact.GRANTED)
        for each in chain
    )


def _retry_paid_upgrades_of(replaced: Subscription, chain: list[Subscription]) -> None:
    """Queue a job for each paid upgrade that was not granted, because its replaced period is paid in full again."""
    for each in chain:
        paid = each.payment.deposit_paid_at is not None
        if each.replaces_id == replaced.pk and each.fact != Fact.GRANTED and paid:
            jobs.configure_task("payments.retry_listeners").defer(payment_id=each.payment_id)


def _review_lost_value(upgrade: Subscription, *, now: datetime) -> None:
    review_items.open_item(reason=ReviewReason.CONTRADICTION, detail=LOST_VALUE, payment_id=upgrade.payment_id, now=now)


def _grant_or_review(subscription: Subscription, chain: list[Subscription], *, now: datetime) -> None:
    """Grant the paid period. If it is an upgrade that cannot be granted, open a review item or reject its payment."""
    if _has_other_upgrade(subscription, chain):
        review_items.open_item(
            reason=ReviewReason.CONTRADICTION,
            detail="Another upgrade replaces the same period. Refund the payment of this one.",
            payment_id=subscription.payment_id,
            now=now,
        )
    elif not subscription.value_carried:
        _grant(subscription, chain, now=now)
    elif not _is_granted_and_paid(_find(chain, subscription.replaces_id)):
        _review_lost_value(subscription, now=now)
    elif _is_paid_too_late(subscription, chain):
        if subscription.fact == Fact.PENDING:
            mark_cancelled(subscription, now=now)
        cancellation.reject_late_payment(
            payment_id=subscription.payment_id,
            reason="The upgrade was paid after its last day. The money is now the member's credit.",
            now=now,
        )
    else:
        _grant(subscription, chain, now=now)


def _grant(subscription: Subscription, chain: list[Subscription], *, now: datetime) -> None:
    if subscription.joining_fee and any(each.fact == Fact.GRANTED and each.joining_fee for each in chain):
        # The payment with the first fee had expired when this period was bought, and was paid late.
        review_items.open_item(
            reason=ReviewReason.LATE_MONEY,
            detail=f"The joining fee of KES {subscription.joining_fee:,} was paid twice. Refund it once.",
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
            resolution="The replaced period is paid in full again.",
            now=now,
        )
    over = _end_used_up_pack(chain, from_day=first_day)
    granted = granted_periods(chain)
    grace_days = _grace_before(first_day, chain)
    subscription.fact, subscription.granted_at, subscription.ended_at = Fact.GRANTED, now, None
    freezes = read_freezes_and_closures([chain])  # now with those of this period, if it was granted before
    period = new_period(
        subscription.pk,
        subscription.interval,
        subscription.interval_count,
        starts_on=first_day,
        not_before=first_day,
    )
    arranged = insert_period(
        period,
        to=granted,
        frozen=freezes.frozen_days_of(chain),
        paid_on=first_day,
        grace_days=grace_days,
        late=subscription.late_renewal,
    )
    save_dates([chain], [arranged], freezes, changed=[subscription, *over])


@transaction.atomic
def start_after_used_up_pack(*, member_id: int, group_id: int, now: datetime) -> None:
    """End the member's running visit pack if it is used up and a later period is paid: that period starts today."""
    chain = lock_periods(member_id=member_id, group_id=group_id)
    today = business_day(now)
    if any(period.starts_on > today for period in granted_periods(chain)):
        rearrange(chain, changed=_end_used_up_pack(chain, from_day=today))


def _end_used_up_pack(chain: list[Subscription], *, from_day: date) -> list[Subscription]:
    """End the visit pack that covers `from_day`, if it is used up, on the day of its last visit or on `from_day`.

    Return the changed period. The caller saves it, and places a paid period after it: paid time must be usable. A pack
    with a pending upgrade stays, because the price of the upgrade was calculated from its dates.
    """
    pack = next((each for each in chain if each.visits is not None and each.runs_on(from_day)), None)
    if pack is None or pack.cut_on is not None:
        return []
    if any(each.replaces_id == pack.pk and each.fact == Fact.PENDING for each in chain):
        return []
    lock_visits(pack.member_id)
    visits = list(Visit.objects.filter(subscription=pack, decision=Decision.ALLOW).order_by("-at").values_list("at"))
    if pack.visits is None or len(visits) < pack.visits:
        return []
    last_day = business_day(visits[0][0]) if visits else from_day
    pack.cut_on = pack.ends_on = max(from_day, last_day)
    _split_freezes(pack, on=pack.cut_on)
    return [pack]


def _grace_before(day: date, chain: list[Subscription]) -> int:
    """Return the grace days of the last granted period that ended by `day`; 0 if none did, or the member left."""
    ended = [period for period in granted_periods(chain) if period.ends_on <= day]
    if not ended:
        return 0
    last = _find(chain, max(ended, key=lambda period: period.ends_on).id)
    return last.grace_days if last.leaving_at is None else 0


def _paid_on(subscription: Subscription) -> date:
    """Return the Nairobi day on which the minimum payment was reached."""
    paid_at = subscription.payment.deposit_paid_at
    assert paid_at is not None  # noqa: S101  only paid periods are granted
    return business_day(paid_at)


def _upgrade_starts_on(upgrade: Subscription, replaced: Subscription) -> date:
    """Return the day on which the unused value was calculated: the day of the request."""
    return max(business_day(upgrade.created_at), as_period(replaced).starts_on)


def _is_paid_too_late(upgrade: Subscription, chain: list[Subscription]) -> bool:
    """Return whether the upgrade was paid too late to be granted.

    It is, if it would have ended by the day of payment, counted from the day of the request; or if its payment had
    expired and the replaced period has ended.
    """
    replaced, paid_on = _find(chain, upgrade.replaces_id), _paid_on(upgrade)
    begins = _upgrade_starts_on(upgrade, replaced)
    whole = new_period(upgrade.pk, upgrade.interval, upgrade.interval_count, starts_on=begins, not_before=begins)
    payment = upgrade.payment
    expired = payment.deposit_paid_at is not None and payment.deposit_paid_at > payment.expires_at
    return (expired and as_period(replaced).ends_on <= paid_on) or whole.ends_on <= paid_on


def _cut_replaced(upgrade: Subscription, chain: list[Subscription]) -> date | None:
    """End the replaced period on the day of the request, from which its unused value was calculated.

    Return that day, on which the upgrade starts; None if the replaced period is not granted or was cut before, or the
    upgrade was paid too late.
    """
    replaced = _find(chain, upgrade.replaces_id)
    if replaced.fact != Fact.GRANTED or replaced.cut_on is not None or _is_paid_too_late(upgrade, chain):
        return None
    cut_on = _upgrade_starts_on(upgrade, replaced)
    replaced.cut_on = replaced.ends_on = cut_on
    _split_freezes(replaced, on=cut_on)
    replaced.save(update_fields=["cut_on", "ends_on"])
    _move_visits(replaced, to=upgrade, since=upgrade.created_at)
    return cut_on


def _split_freezes(subscription: Subscription, *, on: date) -> None:
    """Split the freeze that covers the day and the day before. The second part moves with the later period."""
    for freeze in Freeze.objects.with_last_day().filter(subscription=subscription, starts_on__lt=on, until__gt=on):
        ended_early_on, freeze.ended_early_on = freeze.ended_early_on, on
        freeze.save(update_fields=["ended_early_on"])
        freeze.pk, freeze.starts_on, freeze.ended_early_on = None, on, ended_early_on
        freeze.save(force_insert=True)


def _move_visits(source: Subscription, *, to: Subscription, since: datetime) -> None:
    """Count visits since the request of an upgrade for the period `to`, at most as many as its pack has left."""
    lock_visits(source.member_id)
    allowed = Visit.objects.filter(decision=Decision.ALLOW)
    ids = list(allowed.filter(subscription=source, at__gte=since).order_by("at", "pk").values_list("pk", flat=True))
    if ids and to.visits is not None:
        ids = ids[: max(to.visits - allowed.filter(subscription=to).count(), 0)]
    Visit.objects.filter(pk__in=ids).update(subscription=to)


def _revoke(subscription: Subscription, chain: list[Subscription], *, now: datetime) -> None:
    starts_on = as_period(subscription).starts_on
    later = {period.id for period in granted_periods(chain) if period.starts_on > starts_on}
    changed = [each for each in chain if each.pk in later]
    for each in changed:
        each.not_before = each.starts_on  # so that it does not move to the days that become free
        if each.cut_on is not None:
            each.cut_on = each.ends_on  # later than before if the period had to move past the day of its cut
    subscription.fact, subscription.ended_at = Fact.REVOKED, now
    subscription.save(update_fields=["fact", "ended_at"])
    replaced = next((each for each in chain if each.pk == subscription.replaces_id), None)
    if replaced is not None and replaced.fact == Fact.GRANTED and replaced.cut_on is not None:
        replaced.cut_on, replaced.ends_on = None, replaced.base_ends_on
        changed.append(replaced)
    if replaced is not None:
        _move_freezes(subscription, to=replaced)
        _move_visits(subscription, to=replaced, since=subscription.created_at)
    rearrange(chain, changed=changed)
    _end_upgrades_of(subscription, chain, now=now)


def _move_freezes(upgrade: Subscription, *, to: Subscription) -> None:
    """Assign the freezes of a revoked upgrade to the replaced period, except those that overlap its own freezes."""
    own = Freeze.objects.with_last_day().filter(
        subscription=to, starts_on__lt=OuterRef("until"), until__gt=OuterRef("starts_on")
    )
    moved = Freeze.objects.with_last_day().filter(~Exists(own), subscription=upgrade)
    Freeze.objects.filter(pk__in=list(moved.values_list("pk", flat=True))).update(subscription=to)


def _end_upgrades_of(replaced: Subscription, chain: list[Subscription], *, now: datetime) -> None:
    """Revoke the granted upgrade of a period that is not paid in full any more. A job ends a pending one."""
    for each in [each for each in chain if each.replaces_id == replaced.pk]:
        if each.fact == Fact.PENDING:
            jobs.configure_task("subscriptions.end_upgrade").defer(subscription_id=each.pk)
        elif each.fact == Fact.GRANTED:
            _review_lost_value(each, now=now)
            _revoke(each, chain, now=now)
