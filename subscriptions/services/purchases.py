"""Purchases: payments, pending periods and the STK push, created in one transaction."""

from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass
from datetime import datetime

from django.contrib.auth import get_user_model
from django.db import transaction
from django.db.models import F, Q, QuerySet

from api import changes, idempotency
from api.business_days import business_day
from api.errors import Conflict, NotFound
from api.idempotency import IdempotencyKey
from payments.models import Payment, PaymentStatus
from payments.pushes import push_requests
from payments.services import cancellation, creation, credit, locks
from subscriptions.models import Fact, Origin, Plan, Subscription
from subscriptions.querysets import AWAITING_PAYMENT
from subscriptions.services.calendars import lock_chains
from subscriptions.services.catalog import snapshot
from subscriptions.services.grants import grant_for_payment, mark_cancelled


class PlanNotFound(NotFound):
    """No plan has this code."""

    code, message, field = "plan_not_found", "There is no plan with this code.", "plan"


class MemberNotFound(NotFound):
    """A member does not exist, or the caller may not act for them."""

    code, message, field = "member_not_found", "There is no such member.", "member"


class PlanNotOnSale(Conflict):
    """The plan exists, but is not on sale."""

    code, message = "plan_not_on_sale", "This plan is not on sale. Choose another one."


class StackingLimit(Conflict):
    """The member has bought as many periods ahead as the plan allows."""

    code, message = "stacking_limit", "No more periods of this plan can be bought ahead. Wait until one has ended."


class ConsentMissing(Conflict):
    """The member has not agreed to the club's terms."""

    code, message = "consent_required", "The member must agree to the club's terms first."


class MemberInactive(Conflict):
    """The member's account is closed."""

    code, message = "member_inactive", "This member's account is closed."


class AlreadyPending(Conflict):
    """Some of the members have a pending purchase of this plan in another payment."""

    code = "already_pending"
    message = "One of the members has another purchase of this plan that is not paid. Pay it or cancel it first."


class JoiningFeePending(Conflict):
    """A pending purchase has the joining fee of the group, so it is not yet known whether this one owes it."""

    code, message = "joining_fee_pending", "A purchase with the joining fee is not paid yet. Pay it or cancel it first."


class NothingToCancel(Conflict):
    """The period was revoked or is over."""

    code, message = "nothing_to_cancel", "This subscription is already over."


@dataclass(frozen=True)
class Purchase:
    """The result of a purchase request: one period for each member, all paid with one M-Pesa payment."""

    subscriptions: tuple[Subscription, ...]
    is_new: bool

    @property
    def subscription(self) -> Subscription:
        """The first period, which is the only one unless the purchase is for several members."""
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
    idempotency_key: IdempotencyKey | None = None,
) -> Purchase:
    """Buy one period of the plan for each member, and send an STK push for the total to `phone` if one is given.

    The amounts come from the plan. The payer's credit is spent first, and periods that it covers are granted at once.
    If all the members have a pending purchase of this plan in one payment, that purchase is returned instead. The
    same `idempotency_key` of the same user returns the purchase of the first call.

    :raises PlanNotFound, MemberNotFound: see each
    :raises PlanNotOnSale, StackingLimit, ConsentMissing, MemberInactive, AlreadyPending, JoiningFeePending: see each
    :raises api.idempotency.IdempotencyKeyReused: the key was used with another request body
    :raises payments.pushes.push_requests.PushOpen: the phone has an open push for another payment
    """
    plan = Plan.objects.select_related("group").filter(code=plan_code).first()
    if plan is None:
        raise PlanNotFound
    _lock_people({plan.group_id}, {*member_ids}, {payer_id, created_by_id})
    earlier = find_repeated_purchase(idempotency_key, created_by_id)
    if earlier:
        return Purchase(earlier, is_new=False)
    existing = _find_pending_purchase(plan, member_ids, now)
    if existing:
        idempotency.store_results(idempotency_key, existing, caller_id=created_by_id, now=now)
        return Purchase(existing, is_new=False)
    members = get_user_model().objects.in_bulk(member_ids)
    for member_id in member_ids:
        require_may_buy(members.get(member_id), plan)
        _require_within_stacking_limit(member_id, plan, now)
    fees = {member_id: joining_fee_due(member_id, plan) for member_id in member_ids}
    bought: list[Subscription] = []
    # Members who owe the joining fee come first: the plan itself may be free, and the push is for the first payment.
    for member_id in sorted(member_ids, key=lambda each: not fees[each]):
        member, amount = members[member_id], plan.price + fees[member_id]
        bought.append(
            create_pending_period(
                plan,
                member,
                amount=amount,
                deposit=_minimum_payment(member_id, plan, amount),
                description=f"{plan.name} for {member.get_full_name() or member.member_number}",
                terms={"joining_fee": fees[member_id]},
                payer_id=payer_id,
                group_payment_id=bought[0].payment_id if bought else None,
                created_by_id=created_by_id,
                now=now,
            )
        )
    idempotency.store_results(idempotency_key, bought, caller_id=created_by_id, now=now)
    return settle_purchase(bought, phone=phone, by_id=created_by_id, now=now)


def renew(*, subscription_id: int, **buying) -> Purchase:
    """Buy the next period: of the plan that the member chose for the renewal, else of the same plan.

    The other arguments are those of subscribe.

    :raises: the errors of subscribe
    """
    ending = Subscription.objects.select_related("plan", "next_plan").get(pk=subscription_id)
    return subscribe(
        member_ids=[ending.member_id],
        plan_code=(ending.next_plan or ending.plan).code,
        **buying,
    )


@transaction.atomic
def cancel(*, subscription_id: int, by_id: int, now: datetime) -> Subscription:
    """Cancel a pending period and its payment. A granted period runs to its end, recorded as the member's last one.

    May be repeated.

    :raises NothingToCancel: it was revoked or is over
    """
    found = Subscription.objects.select_related("payment").get(pk=subscription_id)
    if found.fact == Fact.PENDING:
        # A listener cancels the period. The other payments of a group payment stay as they are.
        cancellation.cancel_payment(payment_id=found.payment_id, by_id=by_id, now=now)
        found.refresh_from_db()
        return found
    subscription = Subscription.objects.select_for_update(no_key=True).get(pk=subscription_id)
    if subscription.fact == Fact.CANCELLED:
        return subscription
    if not subscription.ends_after(business_day(now)):
        raise NothingToCancel
    if subscription.leaving_at is None:
        before = changes.values_of(subscription)
        subscription.leaving_at = now
        subscription.save(update_fields=["leaving_at"])
        changes.record_change(subscription, before=before, by_id=by_id, now=now)
    return subscription


def lock_people(ordered: Iterable[Subscription], *, payer_id: int) -> None:
    """Lock the people whom `subscribe` locks when the payer buys the plans of these periods again."""
    periods = list(ordered)
    _lock_people({each.group_id for each in periods}, {each.member_id for each in periods}, {payer_id})


def _lock_people(group_ids: Set[int], member_ids: Set[int], others: Set[int]) -> None:
    """Lock the members, the payers of their pending periods (expired payments may be changed) and `others`."""
    pending = Subscription.objects.pending().filter(group__in=group_ids, member__in=member_ids)
    payers = pending.values_list("payment__payer_id", flat=True)
    locks.lock_members({*member_ids, *others, *payers})


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
    group_payment_id: int | None = None,
) -> Subscription:
    """Create a pending period with the additional fields `terms`, and its payment of `amount` KES.

    A payment of KES 0 is paid at once.
    """
    if amount == 0:
        payment = creation.record_free_payment(
            payer_id=payer_id,
            description=plan.name,
            reason="free plan",
            by_id=created_by_id,
            now=now,
            group_payment_id=group_payment_id,
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
            group_payment_id=group_payment_id,
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
    """Spend the payer's credit on a new purchase, grant the periods it covers, and push to `phone` for the rest."""
    _spend_and_grant(bought, by_id=by_id, now=now)
    first = bought[0].payment
    if phone and first.amount_owed:
        push_requests.request_push(payment_id=first.pk, phone=phone, created_by_id=by_id, now=now)
    return Purchase(_read(each.pk for each in bought), is_new=True)


def _minimum_payment(member_id: int, plan: Plan, amount: int) -> int:
    """Return the minimum payment that gives access: the percentage of the plan, in whole KES, rounded up.

    It is the whole amount if the member has another period of the group that is not paid in full, so that a member
    cannot make only minimum payments.
    """
    not_paid_in_full = Q(fact=Fact.GRANTED, payment__amount_due__gt=F("payment__amount_paid"))
    if Subscription.objects.filter(AWAITING_PAYMENT | not_paid_in_full, member=member_id, group=plan.group_id).exists():
        return amount
    return -(-amount * plan.deposit_percent // 100)


def _spend_and_grant(bought: Sequence[Subscription], *, by_id: int, now: datetime) -> None:
    """Spend the payer's credit on the payments of a purchase, and grant the periods that it covers.

    The first payment of a group payment gets credit last. So it owes money as long as any of them does, and one push
    for it can ask for the total.
    """
    for each in reversed(bought):
        if each.payment.status != PaymentStatus.PAID:
            credit.spend(each.payment, by_id=by_id, now=now)
        if each.payment.deposit_paid_at is not None:
            grant_for_payment(payment_id=each.payment_id, now=now)


def require_may_buy(member, plan: Plan) -> None:
    """Check that the member may buy the plan, whatever the dates.

    :raises MemberNotFound, PlanNotOnSale, MemberInactive, ConsentMissing: see each
    """
    if member is None:
        raise MemberNotFound
    if not plan.is_on_sale:
        raise PlanNotOnSale
    if not member.is_active:
        raise MemberInactive
    if member.consented_at is None:
        raise ConsentMissing


def _require_within_stacking_limit(member_id: int, plan: Plan, now: datetime) -> None:
    # The first of the unfinished periods is not bought ahead, so n + 1 of them are n periods ahead.
    unfinished = AWAITING_PAYMENT | Q(fact=Fact.GRANTED, ends_on__gt=business_day(now))
    if Subscription.objects.filter(unfinished, member=member_id, group=plan.group_id).count() > plan.stacking_limit:
        raise StackingLimit


def joining_fee_due(member_id: int, plan: Plan) -> int:
    """Return the joining fee that the member owes for the plan, in KES: 0 if they had a period of a plan with a fee.

    A period of a plan without a fee, such as a day pass, does not count. An imported period counts.

    :raises JoiningFeePending: a pending purchase has the fee, and may still be cancelled
    """
    if not plan.joining_fee:
        return 0
    periods = Subscription.objects.filter(member=member_id, group=plan.group_id)
    is_joining = Q(joining_fee__gt=0) | Q(plan__joining_fee__gt=0) | Q(origin=Origin.MIGRATED)
    if periods.filter(is_joining, fact=Fact.GRANTED).exists():
        return 0
    if periods.filter(AWAITING_PAYMENT, joining_fee__gt=0).exists():
        raise JoiningFeePending
    return plan.joining_fee


def find_repeated_purchase(key: IdempotencyKey | None, created_by_id: int) -> tuple[Subscription, ...]:
    """Return the periods that the first request with this key got as its answer; none for a new key.

    :raises api.idempotency.IdempotencyKeyReused: the key was used with another request body
    """
    return _read(idempotency.find_results(key, caller_id=created_by_id))


def _paid_with(first_id: int) -> QuerySet[Subscription]:
    """Return the periods of one purchase: of this payment and of the payments that are grouped with it."""
    payments = Payment.objects.filter(Q(pk=first_id) | Q(head=first_id))
    return Subscription.objects.filter(payment__in=payments).order_by("pk")


def _find_pending_purchase(plan: Plan, member_ids: Sequence[int], now: datetime) -> tuple[Subscription, ...]:
    """Return the pending purchase of the plan for exactly these members; empty if they have none.

    Pending periods with an expired payment are cancelled, so that the members can buy again. Late money for such a
    payment still grants its period, but only when the whole amount is paid.

    :raises AlreadyPending: only some of the members have one, or they have several
    """
    pending = Subscription.objects.pending().filter(group=plan.group_id, member__in=member_ids)
    expired = pending.filter(payment__status=PaymentStatus.EXPIRED, payment__deposit__lt=F("payment__amount_due"))
    for payment_id in expired.order_by("payment_id").values_list("payment_id", flat=True):
        creation.require_full_payment(payment_id=payment_id)
    chains = lock_chains(member_ids=member_ids, group_id=plan.group_id)
    waiting = [each for chain in chains for each in chain if each.fact == Fact.PENDING and each.plan_id == plan.pk]
    for each in waiting:
        if each.payment.status == PaymentStatus.EXPIRED:
            mark_cancelled(each, now=now)
    waiting = [each for each in waiting if each.fact == Fact.PENDING]
    if not waiting:
        return ()
    first_id, *others = {each.payment.head_id or each.payment_id for each in waiting}
    purchase = list(_paid_with(first_id))  # also the periods that credit has already paid
    if others or {each.member_id for each in purchase} != set(member_ids):
        raise AlreadyPending
    return _read(each.pk for each in purchase)


def _read(ids: Iterable[int]) -> tuple[Subscription, ...]:
    """Read the subscriptions with these ids again, with their plan, payment and member."""
    return tuple(
        Subscription.objects.select_related("plan__group", "payment", "member").filter(pk__in=ids).order_by("pk")
    )
