"""Purchase requests: decide from the caller who the members and the payer are, and which phone gets the STK push."""

from collections.abc import Sequence
from datetime import datetime

from django.contrib.auth import get_user_model

from api.idempotency import IdempotencyKey
from api.permissions import is_at_least
from api.roles import Role
from subscriptions.models import Subscription
from subscriptions.services.plan_changes import upgrade
from subscriptions.services.purchases import MemberNotFound, Purchase, renew, subscribe

# The default of `phone_number`: push to the payer's own phone. None: no push.
PAYERS_PHONE = object()


def request_purchase(
    *,
    caller,
    plan: str,
    now: datetime,
    member: int | None = None,
    members: Sequence[int] | None = None,
    phone_number=PAYERS_PHONE,
    idempotency_key: IdempotencyKey | None = None,
) -> Purchase:
    """Buy a plan as `caller`: for themselves and people they added, or for any member as a Receptionist or above.

    The payer is the caller. If staff buy for others only, it is the first member.

    :raises MemberNotFound: a member does not exist, or the caller may not buy for them
    :raises: the errors of purchases.subscribe
    """
    member_ids = list(members or [member or caller.pk])
    is_staff = is_at_least(caller, Role.RECEPTIONIST)
    people = get_user_model().objects.in_bulk(member_ids)
    for member_id in member_ids:
        person = people.get(member_id)
        if person is None or not (is_staff or caller.pk in (person.pk, person.added_by_id)):
            raise MemberNotFound(
                f"There is no member with the ID {member_id}.", field="members" if members else "member"
            )
    payer = people[member_ids[0]] if is_staff and caller.pk not in member_ids else caller
    return subscribe(
        member_ids=member_ids,
        plan_code=plan,
        payer_id=payer.pk,
        phone=payer.phone_number if phone_number is PAYERS_PHONE else phone_number,
        created_by_id=caller.pk,
        now=now,
        idempotency_key=idempotency_key,
    )


def request_renewal(*, caller, subscription: Subscription, phone_number=PAYERS_PHONE, **options) -> Purchase:
    """Renew the subscription as `caller`, whose permission was checked.

    :raises: the errors of purchases.subscribe
    """
    payer = _payer(caller, subscription)
    return renew(
        subscription_id=subscription.pk,
        payer_id=payer.pk,
        phone=payer.phone_number if phone_number is PAYERS_PHONE else phone_number,
        created_by_id=caller.pk,
        **options,
    )


def request_upgrade(*, caller, subscription: Subscription, plan: str, phone_number=PAYERS_PHONE, **options) -> Purchase:
    """Upgrade the subscription as `caller`, whose permission was checked.

    :raises: the errors of plan_changes.upgrade
    """
    payer = _payer(caller, subscription)
    return upgrade(
        subscription_id=subscription.pk,
        plan_code=plan,
        payer_id=payer.pk,
        phone=payer.phone_number if phone_number is PAYERS_PHONE else phone_number,
        by_id=caller.pk,
        **options,
    )


def _payer(caller, subscription: Subscription):
    """Return the payer: the caller if they are the member or paid for this period, else the member.

    So staff who act for a member spend that member's credit only.
    """
    is_own = caller.pk in (subscription.member_id, subscription.payment.payer_id)
    return caller if is_own else subscription.member
