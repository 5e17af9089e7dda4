"""The base of the front desk's actions, and the sentences that several of them say."""

from datetime import date, timedelta
from typing import Any

from django.db.models import F

from accounts.models import CustomUser
from api.admin.staff_actions import StaffAction
from payments.models import Receipt
from subscriptions.models import Fact, Subscription


class MemberAction(StaffAction):
    """An action for one member."""

    @property
    def member(self) -> CustomUser:
        return self.subject


def day(on: date) -> str:
    """Return a day as people write it: 2 Nov 2026."""
    return f"{on.day} {on:%b %Y}"


def days_of(period: Any) -> str:
    """Return the days of a granted period: "from 2 Nov 2026 to 1 Dec 2026", or "on 2 Nov 2026" for a single one."""
    last = period.ends_on - timedelta(days=1)
    return f"on {day(last)}" if last == period.starts_on else f"from {day(period.starts_on)} to {day(last)}"


def periods_paid_by(receipt: Receipt) -> str:
    """Return a sentence for each period that the receipt's money pays, such as " Monthly runs from ... to ..."."""
    granted: Any = Subscription.objects.filter(
        payment__allocations__receipt=receipt, payment__allocations__undone_at=None, fact=Fact.GRANTED
    )
    granted = granted.filter(ends_on__gt=F("starts_on"))  # an upgrade may have left no day of the period
    return "".join(f" {each.plan.name} runs {days_of(each)}." for each in granted.select_related("plan").order_by("pk"))
