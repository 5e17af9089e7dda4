"""Whose money a caller may see: one's own, or, for staff, everyone's. What is not yours is not there (404)."""

from django.db.models import QuerySet

from api.permissions import is_at_least

STAFF = "Trainer"  # the least of the roles that work at the club


def visible_payments(payments: QuerySet, user) -> QuerySet:
    """Return the payments that `user` may see."""
    return payments if is_at_least(user, STAFF) else payments.filter(payer_id=user.pk)


def visible_receipts(receipts: QuerySet, user) -> QuerySet:
    """Return the receipts that `user` may see."""
    return receipts if is_at_least(user, STAFF) else receipts.filter(member_id=user.pk)
