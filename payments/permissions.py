"""Which payments and receipts a caller may see and change. A row that the caller may not see is answered 404."""

from django.db.models import QuerySet
from rest_framework.permissions import IsAuthenticated

from api.admin.roles import may
from api.permissions import is_at_least
from api.roles import Role
from payments.models import Payment, Receipt


def visible_payments(payments: QuerySet, user) -> QuerySet:
    """Return the payments that `user` may see: their own, or all of them for a role that sees the page in the admin."""
    return payments if may(user, "view", Payment) else payments.filter(payer_id=user.pk)


def visible_receipts(receipts: QuerySet, user) -> QuerySet:
    """Return the receipts that `user` may see: their own, or all of them for a role that sees the page in the admin."""
    return receipts if may(user, "view", Receipt) else receipts.filter(member_id=user.pk)


def sees_code(receipt: Receipt, user) -> bool:
    """Return whether `user` may see the M-Pesa code of a receipt.

    Unmatched money is given to the payer who shows its code, so only staff who may assign it see the code.
    """
    return receipt.member_id is not None or is_at_least(user, Role.MANAGER)


def without_hidden_code(receipt: Receipt, user) -> Receipt:
    """Remove the code from the receipt, in memory, if `user` may not see it. Return the receipt."""
    if not sees_code(receipt, user):
        receipt.code = None
    return receipt


class OwnOrReceptionist(IsAuthenticated):
    """Members and Trainers push and cancel their own payments; Receptionists and higher roles anybody's."""

    code, message = "permission_denied", "Your role does not allow this."

    def has_object_permission(self, request, view, payment):
        return payment.payer_id == request.user.pk or is_at_least(request.user, Role.RECEPTIONIST)
