"""What every act on the member page stands on, and the fields that several ask for."""

import re
import uuid
from datetime import date, datetime, timedelta
from typing import Any

from django import forms
from django.db.models import F, Q
from unfold.widgets import UnfoldAdminSelectWidget

from api import idempotency
from payments.models import Payment, Receipt
from payments.services.allocation import PAYABLE
from subscriptions.models import Fact, Plan, Subscription

TAKES_MONEY = Q(status__in=PAYABLE, amount_due__gt=F("amount_paid"))


class PlanField(forms.ModelChoiceField):
    """A plan with its price."""

    widget = UnfoldAdminSelectWidget

    def __init__(self, **kwargs):
        super().__init__(Plan.objects.order_by("group", "price", "pk"), to_field_name="code", **kwargs)

    def label_from_instance(self, plan):
        fee = f" + KES {plan.joining_fee:,} to join" if plan.joining_fee else ""
        return f"{plan.name}: KES {plan.price:,}{fee}"


class PaymentField(forms.ModelChoiceField):
    """A payment with what it still owes, or how it ended."""

    widget = UnfoldAdminSelectWidget

    def label_from_instance(self, payment):
        if payment.status in PAYABLE and payment.amount_owed:
            return f"{payment.reference}: KES {payment.amount_owed:,} for {payment.description}"
        return f"{payment.reference}: {payment.description}, {payment.get_status_display().lower()}"


class MemberAct(forms.Form):
    """One act for one member, by who sends `request`; `address` is where it is sent."""

    name = title = ""
    button = ""  # where it says something else than the title

    def __init__(self, typed, *, member, request, address: str, now: datetime):
        # Forms of different acts stand on one page: each field's id begins with the act's name.
        super().__init__(typed, auto_id=f"{self.name}-%s")
        self.member, self.request, self.address, self.now = member, request, address, now
        self.caller = request.user
        self.offer()

    def offer(self) -> None:
        """Fill in what there is to choose from for this member."""

    @property
    def hint(self) -> str:
        """What must be done first, for whoever has not; it may hold a link."""
        return ""

    @property
    def is_possible(self) -> bool:
        """Whether there is anything to choose from."""
        return True

    def carry_out(self) -> str:
        """Do it, and return what came of it in one sentence for whoever asked.

        :raises DomainError: the service refused
        """
        raise NotImplementedError


class ActDoneOnce(MemberAct):
    """An act that would count twice if it were sent twice: the page draws a key for it."""

    key = forms.RegexField(idempotency.KEY, widget=forms.HiddenInput, initial=uuid.uuid4)

    def once(self) -> dict[str, str]:
        """Return what the service takes to know a second sending."""
        asked = {name: self.data.get(name) for name in self.fields}
        return {
            "idempotency_key": self.cleaned_data["key"],
            "body_fingerprint": idempotency.fingerprint(self.address, asked),
        }


def day(on: date) -> str:
    """Return a day as people write it: 2 Nov 2026."""
    return f"{on.day} {on:%b %Y}"


def runs(period: Any) -> str:
    """Return the days of a granted period as people say them: from 2 Nov 2026 to 1 Dec 2026."""
    last = period.ends_on - timedelta(days=1)
    return f"on {day(last)}" if last == period.starts_on else f"from {day(period.starts_on)} to {day(last)}"


def begins(period: Subscription, *, paid_on: date) -> date:
    """Return the first day from `paid_on` on that nothing of the member's covers: where the period will begin."""
    standing: Any = Subscription.objects.filter(
        member=period.member_id, group=period.group_id, fact=Fact.GRANTED, ends_on__gt=paid_on
    )
    free = paid_on
    for each in standing.order_by("starts_on", "pk"):
        if each.starts_on <= free:
            free = max(free, each.ends_on)
    return free


def bought_with(receipt: Receipt) -> str:
    """Return what a receipt's money has bought, and when it runs; empty when that is nothing yet."""
    granted: Any = Subscription.objects.filter(
        payment__allocations__receipt=receipt, payment__allocations__undone_at=None, fact=Fact.GRANTED
    )
    return "".join(f" {each.plan.name} runs {runs(each)}." for each in granted.select_related("plan").order_by("pk"))


def open_payments(payer_id: int) -> Any:
    """Return the payments of a payer that take money, oldest first."""
    return Payment.objects.filter(TAKES_MONEY, payer=payer_id).order_by("created_at", "pk")


def payments_for(form: MemberAct) -> Any:
    """Return the member's open payments, and the one that a form was sent for: its first sending may have paid it."""
    named = re.fullmatch("[0-9]{1,18}", form.data.get("payment", ""))
    mine = Payment.objects.filter(payer=form.member.pk)
    return mine.filter(TAKES_MONEY | Q(pk=named[0]) if named else TAKES_MONEY).order_by("created_at", "pk")
