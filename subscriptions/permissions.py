"""Who may do what with memberships."""

from rest_framework.permissions import SAFE_METHODS, BasePermission

from api import clock
from api.business_days import business_day
from api.permissions import is_at_least
from api.roles import Role
from subscriptions.models import Subscription
from subscriptions.statuses import Status


def may_freeze_as_staff(user, subscription: Subscription) -> bool:
    """Say whether the caller freezes as staff: never what is their own."""
    return subscription.member_id != user.pk and is_at_least(user, Role.RECEPTIONIST)


class HasActiveSubscription(BasePermission):
    """The caller has a period that lets them in now, of any group that opens the gate."""

    code, message = "subscription_required", "This needs an active subscription."
    statuses_with_access = (Status.ACTIVE, Status.GRACE)

    def has_permission(self, request, view):
        mine = Subscription.objects.filter(member=request.user.pk, group__opens_gate=True)
        return mine.with_status(business_day(clock.now())).filter(status__in=self.statuses_with_access).exists()


class HasRunningSubscription(HasActiveSubscription):
    """As HasActiveSubscription; days of grace do not count."""

    statuses_with_access = (Status.ACTIVE,)


class AnyoneReadsManagersWrite(BasePermission):
    """The price list is public; changing it takes a Manager."""

    anyone_reads = True  # for the OpenAPI document
    code, message = "permission_denied", "Your role does not allow this."

    def has_permission(self, request, view):
        return request.method in SAFE_METHODS or is_at_least(request.user, Role.MANAGER)


class MembersReadManagersWrite(AnyoneReadsManagersWrite):
    """Whoever is logged in may read it; changing it takes a Manager."""

    anyone_reads = False

    def has_permission(self, request, view):
        return request.user.is_authenticated and super().has_permission(request, view)


class OwnOrReceptionist(BasePermission):
    """One acts on what is one's own or what one pays for; on anybody's from Receptionist up.

    What one may not even see was not found before.
    """

    code, message = "permission_denied", "Your role does not allow this."

    def has_permission(self, request, view):
        return request.user.is_authenticated

    def has_object_permission(self, request, view, subscription):
        own = request.user.pk in (subscription.member_id, subscription.payment.payer_id)
        return own or request.method in SAFE_METHODS or is_at_least(request.user, Role.RECEPTIONIST)
