"""Buying: the payment, the pending periods and the prompt, in one transaction."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.contrib.auth import get_user_model
from django.db import transaction
from django.db.models import F, Q

from api.business_days import business_day
from api.errors import Conflict, NotFound
from api.idempotency import IdempotencyKeyReused
from payments.models import Payment, PaymentStatus
from payments.pushes import push_requests
from payments.services import cancellation, creation, locks
from subscriptions.models import Fact, KeptKey, Origin, Plan, Subscription
from subscriptions.querysets import AWAITING_PAYMENT
from subscriptions.services.calendars import lock_periods_of
from subscriptions.services.catalog import snapshot
from subscriptions.services.grants import grant_for_payment, mark_cancelled


class PlanNotFound(NotFound):
    """No plan has this code."""

    message = "There is no such plan."


class MemberNotFound(NotFound):
    """One of the members does not exist."""

    message = "There is no such member."


class PlanNotOnSale(Conflict):
    """The plan exists, but is not sold now."""

    code, message = "plan_not_on_sale", "This plan is not on sale."


class StackingLimit(Conflict):
    """The member has bought as far ahead as the plan allows."""

    code, message = "stacking_limit", "No more periods can be bought ahead."


class ConsentMissing(Conflict):
    """The member has not agreed to the club's terms."""

    code, message = "consent_required", "The member must agree to the club's terms first."


class MemberInactive(Conflict):
    """The member's account is closed."""

    code, message = "member_inactive", "This member's account is closed."


class AlreadyPending(Conflict):
    """Some, not all, of the members are already buying this plan in another payment."""

    code, message = "already_pending", "One of the members is already buying this plan in another payment."


class JoiningFeePending(Conflict):
    """A purchase that carries the group's joining fee waits: whether another owes the fee is not decided yet."""

    code, message = (
        "joining_fee_pending",
        "A purchase with the joining fee is waiting; pay it or cancel it first.",
    )


class NothingToCancel(Conflict):
    """The period was cancelled, revoked or is over."""

    code, message = "nothing_to_cancel", "This subscription is already over."


@dataclass(frozen=True)
class Purchase:
    """What one request bought: a pending period for each member, all paid by one payment of money."""

    subscriptions: tuple[Subscription, ...]
    is_new: bool

    @property
    def subscription(self) -> Subscription:
        """The first; the only one unless somebody pays for several members."""
        return self.subscriptions[0]


@transaction.atomic
def subscribe(
    *,
    member_ids: Sequence[int],
    plan_code: str,
    payer_id: int,
    phone: str | None,
    created_by_id: int,
    now: datetime,
    idempotency_key: str | None = None,
    body_fingerprint: str = "",
) -> Purchase:
    """Buy one period of the plan for each member, and prompt `phone` for the whole sum when one is given.

    The amount comes from the plan. The payer's credit is spent first; what it covers is granted at once. While
    every one of the members has a pending period of this plan in one payment, that purchase is returned instead.

    :raises PlanNotFound, MemberNotFound: there is none
    :raises PlanNotOnSale, StackingLimit, ConsentMissing, MemberInactive, AlreadyPending, JoiningFeePending: see each
    :raises IdempotencyKeyReused: the key came before with another body
    :raises payments.pushes.PushOpen: the phone is being asked for another payment
    """
    plan = Plan.objects.select_related("group").filter(code=plan_code).first()
    if plan is None:
        raise PlanNotFound
    waiting = Subscription.objects.pending().filter(group=plan.group_id, member__in=member_ids)
    payers = waiting.values_list("payment__payer_id", flat=True)  # of what this may make room for
    locks.lock_members({*member_ids, payer_id, created_by_id, *payers})
    earlier = find_repeated_purchase(idempotency_key, body_fingerprint, created_by_id)
    if earlier:
        return Purchase(earlier, is_new=False)
    pending = _pending(plan, member_ids, now)
    if pending:
        store_idempotency_key(idempotency_key, body_fingerprint, pending[0].payment, by_id=created_by_id, now=now)
        return Purchase(pending, is_new=False)
    members = get_user_model().objects.in_bulk(member_ids)
    for member_id in member_ids:
        require_may_buy(members.get(member_id), plan)
        _require_room_ahead(member_id, plan, now)
    fees = {member_id: joining_fee_due(member_id, plan) for member_id in member_ids}
    bought: list[Subscription] = []
    # Of a plan that costs nothing, who owes the joining fee comes first: the head payment must take money.
    for member_id in sorted(member_ids, key=lambda each: not fees[each]):
        member, amount = members[member_id], plan.price + fees[member_id]
        bought.append(
            create_pending_period(
                plan,
                member,
                amount=amount,
                deposit=_deposit(member_id, plan, amount),
                description=f"{plan.name} for {member.get_full_name() or member.member_number}",
                terms={"joining_fee": fees[member_id]},
                payer_id=payer_id,
                group_payment_id=bought[0].payment_id if bought else None,
                created_by_id=created_by_id,
                now=now,
                # One request has one key: it stands on the head payment.
                idempotency_key=None if bought else idempotency_key,
                body_fingerprint="" if bought else body_fingerprint,
            )
        )
    return settle_purchase(bought, phone=phone, by_id=created_by_id, now=now)


def renew(*, subscription_id: int, **buying) -> Purchase:
    """Buy the period that follows this one: of the plan the member chose for the end, else of the same plan.

    Takes what subscribe takes besides the member and the plan.

    :raises: what subscribe raises
    """
    ending = Subscription.objects.select_related("plan", "next_plan").get(pk=subscription_id)
    return subscribe(
        member_ids=[ending.member_id],
        plan_code=(ending.next_plan or ending.plan).code,
        **buying,
    )


@transaction.atomic
def cancel(*, subscription_id: int, by_id: int, now: datetime) -> Subscription:
    """Withdraw a pending period with its payment; of a granted one, note that it is the member's last.

    Twice changes nothing.

    :raises NothingToCancel: it was revoked
    """
    found = Subscription.objects.select_related("payment").get(pk=subscription_id)
    if found.fact == Fact.PENDING:
        # Companions of the same prompt stay as they are. The listener withdraws the period with it.
        cancellation.cancel_payment(payment_id=found.payment_id, by_id=by_id, now=now)
        found.refresh_from_db()
        return found
    subscription = Subscription.objects.select_for_update(no_key=True).get(pk=subscription_id)
    if subscription.fact == Fact.REVOKED or (
        subscription.fact == Fact.GRANTED and subscription.ends_on <= business_day(now)
    ):
        raise NothingToCancel
    if subscription.fact == Fact.GRANTED and subscription.leaving_at is None:
        subscription.leaving_at = now
        subscription.save(update_fields=["leaving_at"])
    return subscription


def create_pending_period(
    plan: Plan,
    member,
    *,
    amount: int,
    deposit: int,
    description: str,
    terms: dict,
    payer_id: int,
    created_by_id: int,
    now: datetime,
    **opening,
) -> Subscription:
    """Open the payment of `amount` KES and the pending period, which keeps the `terms` it was bought on."""
    if amount == 0:
        payment = creation.record_free_payment(
            payer_id=payer_id, description=plan.name, reason="free plan", by_id=created_by_id, now=now, **opening
        )
    else:
        payment = creation.create_payment(
            payer_id=payer_id,
            amount=amount,
            description=description[:120],
            created_by_id=created_by_id,
            now=now,
            use_credit=False,
            deposit=deposit,
            **opening,
        )
    return Subscription.objects.create(
        member=member,
        payment=payment,
        created_by_id=created_by_id,
        created_at=now,
        origin=Origin.BOUGHT,
        **snapshot(plan),
        **terms,
    )


def settle_purchase(bought: Sequence[Subscription], *, phone: str | None, by_id: int, now: datetime) -> Purchase:
    """Spend the payer's credit on what was just opened, grant what it covers, and prompt `phone` for the rest."""
    _spend_and_grant(bought, by_id=by_id, now=now)
    head = bought[0].payment
    if phone and head.amount_owed:
        push_requests.request_push(payment_id=head.pk, phone=phone, created_by_id=by_id, now=now)
    return Purchase(_fresh(bought), is_new=True)


def _deposit(member_id: int, plan: Plan, amount: int) -> int:
    """Return how much of the amount must come first: the share that the plan asks for, in whole KES rounded up.

    All of it next to another purchase of the group that waits or is owed for: nobody lives on deposits.
    """
    owed = Q(fact=Fact.GRANTED, payment__amount_due__gt=F("payment__amount_paid"))
    if Subscription.objects.filter(AWAITING_PAYMENT | owed, member=member_id, group=plan.group_id).exists():
        return amount
    return -(-amount * plan.deposit_percent // 100)


def _spend_and_grant(bought: Sequence[Subscription], *, by_id: int, now: datetime) -> None:
    """Spend the payer's credit on what was bought, and grant what it covers.

    On the head payment last: while anything is owed the head owes some of it, so one prompt asks for all of it.
    """
    for each in reversed(bought):
        if each.payment.status != PaymentStatus.PAID:
            creation.spend_credit(payment=each.payment, by_id=by_id, now=now)
        if each.payment.deposit_paid_at is not None:
            grant_for_payment(payment_id=each.payment_id, now=now)


def require_may_buy(member, plan: Plan) -> None:
    """Refuse a purchase that no date can mend.

    :raises MemberNotFound: there is no such member
    :raises PlanNotOnSale: the plan is not sold any more
    :raises MemberInactive: the account is closed
    :raises ConsentMissing: the member has not agreed to the terms
    """
    if member is None:
        raise MemberNotFound
    if not plan.is_on_sale:
        raise PlanNotOnSale
    if not member.is_active:
        raise MemberInactive
    if member.consented_at is None:
        raise ConsentMissing


def _require_room_ahead(member_id: int, plan: Plan, now: datetime) -> None:
    # Those that are not over. The first of all that run or wait is not ahead of anything, so of n + 1 periods n are.
    unfinished = AWAITING_PAYMENT | Q(fact=Fact.GRANTED, ends_on__gt=business_day(now))
    if Subscription.objects.filter(unfinished, member=member_id, group=plan.group_id).count() > plan.stacking_limit:
        raise StackingLimit


def joining_fee_due(member_id: int, plan: Plan) -> int:
    """Return what the member owes for joining the plan's group: nothing once they had a period of a plan with the fee.

    A period without one (a day pass) is no membership; one that was brought along is.

    :raises JoiningFeePending: a purchase with the fee waits, and may be cancelled yet
    """
    if not plan.joining_fee:
        return 0
    mine = Subscription.objects.filter(member=member_id, group=plan.group_id)
    paid = Q(joining_fee__gt=0) | Q(plan__joining_fee__gt=0) | Q(origin=Origin.MIGRATED)
    if mine.filter(paid, fact=Fact.GRANTED).exists():
        return 0
    if mine.filter(AWAITING_PAYMENT, joining_fee__gt=0).exists():
        raise JoiningFeePending
    return plan.joining_fee


def find_repeated_purchase(key: str | None, fingerprint: str, created_by_id: int) -> tuple[Subscription, ...]:
    """Return what the same request was answered with the first time."""
    head = creation.find_payment_by_key(key, fingerprint, created_by_id=created_by_id)
    if head is not None:
        return _fresh(_paid_with(head.pk))
    kept = KeptKey.objects.filter(made_by=created_by_id, idempotency_key=key).first() if key else None
    if kept is None:
        return ()
    if kept.body_fingerprint != fingerprint:
        raise IdempotencyKeyReused
    return _fresh(_paid_with(kept.payment_id))


def store_idempotency_key(key: str | None, fingerprint: str, payment: Payment, *, by_id: int, now: datetime) -> None:
    """Answer the same request again with what this payment, or its head, bought, also once that is paid or over."""
    if key:
        head_id = payment.head_id or payment.pk
        KeptKey.objects.create(
            made_by_id=by_id, idempotency_key=key, body_fingerprint=fingerprint, payment_id=head_id, created_at=now
        )


def _paid_with(head_id: int):
    """Return what one request bought: the periods of the head payment and of its companions."""
    payments = Payment.objects.filter(Q(pk=head_id) | Q(head=head_id))
    return Subscription.objects.filter(payment__in=payments).order_by("pk")


def _pending(plan: Plan, member_ids: Sequence[int], now: datetime) -> tuple[Subscription, ...]:
    """Return the purchase that the members are already about; an expired one makes room for a new one.

    Late money for the one that made room still grants it, when all of it comes: money wins.
    """
    mine = Subscription.objects.pending().filter(group=plan.group_id, member__in=member_ids)
    expired = mine.filter(payment__status=PaymentStatus.EXPIRED, payment__deposit__lt=F("payment__amount_due"))
    for payment_id in expired.order_by("payment_id").values_list("payment_id", flat=True):
        creation.require_full_payment(payment_id=payment_id)
    chains = lock_periods_of(member_ids=member_ids, group_id=plan.group_id)
    waiting = [each for chain in chains for each in chain if each.fact == Fact.PENDING and each.plan_id == plan.pk]
    for each in waiting:
        if each.payment.status == PaymentStatus.EXPIRED:
            mark_cancelled(each, now=now)
    waiting = [each for each in waiting if each.fact == Fact.PENDING]
    if not waiting:
        return ()
    head_id, *others = {each.payment.head_id or each.payment_id for each in waiting}
    # With those of the same request that credit has covered.
    family = list(_paid_with(head_id))
    if others or {each.member_id for each in family} != set(member_ids):
        raise AlreadyPending
    return _fresh(family)


def _fresh(subscriptions) -> tuple[Subscription, ...]:
    """Read the subscriptions again with what an answer shows of them."""
    ids = [each.pk for each in subscriptions]
    return tuple(
        Subscription.objects.select_related("plan__group", "payment", "member").filter(pk__in=ids).order_by("pk")
    )
