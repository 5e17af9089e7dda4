"""Whose money a caller may see and act on. What one may not even see is not there (404)."""

from django.db.models import QuerySet
from rest_framework.permissions import IsAuthenticated

from api.permissions import is_at_least
from api.roles import Role
from payments.models import Receipt

STAFF = Role.TRAINER  # the least of the roles that work at the club


def visible_payments(payments: QuerySet, user) -> QuerySet:
    """Return the payments that `user` may see."""
    return payments if is_at_least(user, STAFF) else payments.filter(payer_id=user.pk)


def visible_receipts(receipts: QuerySet, user) -> QuerySet:
    """Return the receipts that `user` may see."""
    return receipts if is_at_least(user, STAFF) else receipts.filter(member_id=user.pk)


def sees_code(receipt: Receipt, user) -> bool:
    """Say whether `user` is shown a receipt's M-Pesa code.

    Whoever shows the code of money without an owner is given it, so it is told to those alone who may assign it.
    """
    return receipt.member_id is not None or is_at_least(user, Role.MANAGER)


def without_hidden_code(receipt: Receipt, user) -> Receipt:
    """Return a receipt to be shown, its code left out where `user` is not to see it."""
    if not sees_code(receipt, user):
        receipt.code = None
    return receipt


class OwnOrReceptionist(IsAuthenticated):
    """One prompts for and withdraws one's own payments; anybody's from Receptionist up. A Trainer only looks."""

    code, message = "permission_denied", "Your role does not allow this."

    def has_object_permission(self, request, view, payment):
        return payment.payer_id == request.user.pk or is_at_least(request.user, Role.RECEPTIONIST)
