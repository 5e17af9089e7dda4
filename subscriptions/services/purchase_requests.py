"""A request's caller, turned into who it is for, who pays and whose phone is asked."""

from collections.abc import Sequence
from datetime import datetime

from django.contrib.auth import get_user_model

from api.permissions import is_at_least
from api.roles import Role
from subscriptions.models import Subscription
from subscriptions.services.plan_changes import upgrade
from subscriptions.services.purchases import MemberNotFound, Purchase, renew, subscribe

# The phone number was not sent at all; null means that no phone is to be asked.
PAYERS_PHONE = object()


def request_purchase(
    *,
    caller,
    plan: str,
    now: datetime,
    member: int | None = None,
    members: Sequence[int] | None = None,
    phone_number=PAYERS_PHONE,
    idempotency_key: str | None = None,
    body_fingerprint: str = "",
) -> Purchase:
    """Buy as `caller`: for oneself and those one brought along, from Receptionist up for anybody.

    The caller pays, unless they buy for others as staff: then the first member does.

    :raises MemberNotFound: a member does not exist, or not for this caller
    :raises: what subscribe raises
    """
    member_ids = list(members or [member or caller.pk])
    is_staff = is_at_least(caller, Role.RECEPTIONIST)
    people = get_user_model().objects.in_bulk(member_ids)
    for member_id in member_ids:
        person = people.get(member_id)
        if person is None or not (is_staff or caller.pk in (person.pk, person.added_by_id)):
            raise MemberNotFound
    payer = people[member_ids[0]] if is_staff and caller.pk not in member_ids else caller
    return subscribe(
        member_ids=member_ids,
        plan_code=plan,
        payer_id=payer.pk,
        phone=payer.phone_number if phone_number is PAYERS_PHONE else phone_number,
        created_by_id=caller.pk,
        now=now,
        idempotency_key=idempotency_key,
        body_fingerprint=body_fingerprint,
    )


def request_renewal(*, caller, subscription: Subscription, phone_number=PAYERS_PHONE, **asked) -> Purchase:
    """Renew as `caller`, who may act on this subscription.

    :raises: what subscribe raises
    """
    payer = _payer(caller, subscription)
    return renew(
        subscription_id=subscription.pk,
        payer_id=payer.pk,
        phone=payer.phone_number if phone_number is PAYERS_PHONE else phone_number,
        created_by_id=caller.pk,
        **asked,
    )


def request_upgrade(*, caller, subscription: Subscription, plan: str, phone_number=PAYERS_PHONE, **asked) -> Purchase:
    """Upgrade as `caller`, who may act on this subscription.

    :raises: what upgrade raises
    """
    payer = _payer(caller, subscription)
    return upgrade(
        subscription_id=subscription.pk,
        plan_code=plan,
        payer_id=payer.pk,
        phone=payer.phone_number if phone_number is PAYERS_PHONE else phone_number,
        by_id=caller.pk,
        **asked,
    )


def _payer(caller, subscription: Subscription):
    """Return who pays: the caller, also for whom they paid before; the member when staff act for them.

    Nobody spends another's credit.
    """
    is_own = caller.pk in (subscription.member_id, subscription.payment.payer_id)
    return caller if is_own else subscription.member
