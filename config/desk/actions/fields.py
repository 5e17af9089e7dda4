"""Fields to choose a plan, a payment or a period."""

from datetime import timedelta
from typing import Any

from django import forms
from django.db.models import F, Q
from unfold.widgets import UnfoldAdminSelectWidget

from config.desk.actions.base import day
from payments.models import Payment
from payments.services.allocation import PAYABLE
from subscriptions.models import Plan, Subscription

TAKES_MONEY = Q(status__in=PAYABLE, amount_due__gt=F("amount_paid"))


def open_payments(payer_id: int) -> Any:
    """Return the payments of a payer that take money, oldest first."""
    return Payment.objects.filter(TAKES_MONEY, payer=payer_id).order_by("created_at", "pk")


class PlanField(forms.ModelChoiceField):
    """A plan, shown with its price."""

    widget = UnfoldAdminSelectWidget

    def __init__(self, **kwargs):
        super().__init__(Plan.objects.order_by("group", "price", "pk"), to_field_name="code", **kwargs)

    def label_from_instance(self, plan):
        fee = f" + KES {plan.joining_fee:,} to join" if plan.joining_fee else ""
        return f"{plan.name}: KES {plan.price:,}{fee}"


class PaymentField(forms.ModelChoiceField):
    """A payment, shown with the amount that it still owes, or with its status."""

    widget = UnfoldAdminSelectWidget

    def __init__(self, **kwargs):
        super().__init__(Payment.objects.none(), **kwargs)

    def label_from_instance(self, payment):
        if payment.status in PAYABLE and payment.amount_owed:
            return f"{payment.reference}: KES {payment.amount_owed:,} for {payment.description}"
        return f"{payment.reference}: {payment.description}, {payment.get_status_display().lower()}"


class PeriodField(forms.ModelChoiceField):
    """A granted period, shown with its days."""

    widget = UnfoldAdminSelectWidget

    def __init__(self, **kwargs):
        super().__init__(Subscription.objects.none(), empty_label=None, **kwargs)

    def label_from_instance(self, period):
        last = period.ends_on - timedelta(days=1)
        return f"{period.plan.name}: {day(period.starts_on)} to {day(last)}"
