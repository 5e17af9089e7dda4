"""Permissions for plans, subscriptions and closures, and for views that need an active subscription."""

from rest_framework.permissions import SAFE_METHODS, BasePermission

from api import clock
from api.business_days import business_day
from api.permissions import is_at_least
from api.roles import Role
from subscriptions.models import Subscription
from subscriptions.statuses import Status


def may_freeze_as_staff(user, subscription: Subscription) -> bool:
    """Return whether `user` may freeze as staff: a Receptionist or above, except for their own subscription."""
    return subscription.member_id != user.pk and is_at_least(user, Role.RECEPTIONIST)


class HasActiveSubscription(BasePermission):
    """The user has a period that opens the gate today, active or in grace."""

    code, message = "subscription_required", "An active subscription is required. Buy or renew a plan first."
    statuses_with_access: tuple[Status, ...] = (Status.ACTIVE, Status.GRACE)

    def has_permission(self, request, view):
        periods = Subscription.objects.filter(member=request.user.pk, group__opens_gate=True)
        return periods.with_status(business_day(clock.now())).filter(status__in=self.statuses_with_access).exists()


class HasRunningSubscription(HasActiveSubscription):
    """As HasActiveSubscription, but days of grace do not count."""

    statuses_with_access = (Status.ACTIVE,)


class AnyoneReadsManagersWrite(BasePermission):
    """Anyone may read the price list; a Manager or above may change it."""

    code, message = "permission_denied", "Your role does not allow this."

    def has_permission(self, request, view):
        return request.method in SAFE_METHODS or is_at_least(request.user, Role.MANAGER)


class MembersReadManagersWrite(AnyoneReadsManagersWrite):
    """A logged-in user may read; a Manager or above may change."""

    def has_permission(self, request, view):
        return request.user.is_authenticated and super().has_permission(request, view)


class OwnOrReceptionist(BasePermission):
    """A user may act on subscriptions of which they are the member or the payer; a Receptionist or above on all.

    A subscription that the user may not see was answered with 404 before.
    """

    code, message = "permission_denied", "Your role does not allow this."

    def has_permission(self, request, view):
        return request.user.is_authenticated

    def has_object_permission(self, request, view, subscription):
        is_own = request.user.pk in (subscription.member_id, subscription.payment.payer_id)
        return is_own or request.method in SAFE_METHODS or is_at_least(request.user, Role.RECEPTIONIST)
