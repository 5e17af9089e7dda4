"""What staff do for a member on the member page: each form checks what is typed, and makes one call of a service."""

import uuid
from datetime import date, datetime, timedelta
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.db.models import F
from unfold.widgets import (
    BASE_INPUT_CLASSES,
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextInputWidget,
)

from api import idempotency
from api.phones import InvalidPhoneNumber, normalise
from payments import desk, pushes
from payments.allocation import PAYABLE
from payments.models import Channel, Payment
from payments.serializers import MOST_SHILLINGS
from payments.services import PROMPTABLE
from subscriptions import services
from subscriptions.models import Fact, FreezeKind, Plan, Subscription
from subscriptions.periods import business_day
from subscriptions.permissions import may_give_days


class PhoneField(forms.CharField):
    """A Kenyan mobile number as people write it; read as 254 and nine digits."""

    widget = UnfoldAdminTextInputWidget(attrs={"inputmode": "tel", "autocomplete": "off"})

    def clean(self, value):
        typed = super().clean(value)
        try:
            return normalise(typed) if typed else None
        except InvalidPhoneNumber as error:
            raise ValidationError(error.message, code=error.code) from error


class DayField(forms.DateField):
    """A day, picked in the browser's own calendar."""

    def __init__(self, **kwargs):
        widget = forms.DateInput(format="%Y-%m-%d", attrs={"class": " ".join(BASE_INPUT_CLASSES)})
        widget.input_type = "date"
        super().__init__(widget=widget, **kwargs)


class PlanField(forms.ModelChoiceField):
    """A plan with its price."""

    widget = UnfoldAdminSelectWidget

    def __init__(self, **kwargs):
        super().__init__(Plan.objects.order_by("group", "price", "pk"), to_field_name="code", **kwargs)

    def label_from_instance(self, plan):
        fee = f" + KES {plan.joining_fee:,} to join" if plan.joining_fee else ""
        return f"{plan.name}: KES {plan.price:,}{fee}"


class PaymentField(forms.ModelChoiceField):
    """A payment with what it still owes."""

    widget = UnfoldAdminSelectWidget

    def label_from_instance(self, payment):
        return f"{payment.reference}: KES {payment.amount_owed:,} for {payment.description}"


class PeriodField(forms.ModelChoiceField):
    """A period with its days."""

    widget = UnfoldAdminSelectWidget

    def label_from_instance(self, period):
        last = period.ends_on - timedelta(days=1)
        return f"{period.plan.name}: {day(period.starts_on)} to {day(last)}"


class MemberAct(forms.Form):
    """One act for one member, as `caller`; `address` is where it is sent."""

    name = title = ""

    def __init__(self, typed, *, member, caller, address: str, now: datetime):
        # Forms of different acts stand on one page: each field's id begins with the act's name.
        super().__init__(typed, auto_id=f"{self.name}-%s")
        self.member, self.caller, self.address, self.now = member, caller, address, now
        self.offer()

    def offer(self) -> None:
        """Fill in what there is to choose from for this member."""

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


class SellForm(ActDoneOnce):
    """Sell a plan, and prompt a phone for the money."""

    name, title = "sell", "Sell a plan"
    plan = PlanField()
    phone_number = PhoneField(required=False, label="Phone to prompt", help_text="Empty: no prompt is sent.")

    def offer(self):
        self.fields["plan"].queryset = self.fields["plan"].queryset.filter(is_on_sale=True)
        self.fields["phone_number"].initial = self.member.phone_number

    def carry_out(self):
        bought = services.subscribe_as(
            caller=self.caller,
            member=self.member.pk,
            plan=self.cleaned_data["plan"].code,
            phone_number=self.cleaned_data["phone_number"],
            now=self.now,
            **self.once(),
        ).subscription
        payment = bought.payment
        if not payment.amount_owed:
            return f"{bought.plan.name} is sold and paid."
        return f"{bought.plan.name} is sold: KES {payment.amount_owed:,} to pay as {payment.reference}."


class PromptForm(MemberAct):
    """Prompt a phone for an open payment. A second sending is refused while the first prompt is open."""

    name, title = "prompt", "Send a prompt"
    payment = PaymentField(queryset=Payment.objects.none(), empty_label=None)
    phone_number = PhoneField(label="Phone to prompt")

    def offer(self):
        self.fields["payment"].queryset = open_payments(self.member.pk).filter(status__in=PROMPTABLE)
        self.fields["phone_number"].initial = self.member.phone_number

    @property
    def is_possible(self):
        return bool(self.fields["payment"].queryset)

    def carry_out(self):
        push = pushes.request_push(
            payment_id=self.cleaned_data["payment"].pk,
            phone=self.cleaned_data["phone_number"],
            created_by_id=self.caller.pk,
            now=self.now,
        )
        return f"A prompt of KES {push.amount:,} is on its way to the phone."


class TakeForm(ActDoneOnce):
    """Take cash over the desk, or record a bank transfer."""

    name, title = "take", "Take cash"
    amount = forms.IntegerField(
        min_value=1, max_value=MOST_SHILLINGS, label="Amount in KES", widget=UnfoldAdminIntegerFieldWidget
    )
    channel = forms.ChoiceField(
        choices=[(Channel.CASH.value, "Cash"), (Channel.BANK.value, "Bank transfer")],
        label="How it came",
        initial=Channel.CASH.value,
        widget=UnfoldAdminSelectWidget,
    )
    payment = PaymentField(
        queryset=Payment.objects.none(),
        required=False,
        empty_label="What is open, oldest first; the rest is credit",
        label="What it is for",
    )
    note = forms.CharField(
        max_length=64,
        required=False,
        help_text="Of a bank transfer: the bank's reference.",
        widget=UnfoldAdminTextInputWidget,
    )

    def offer(self):
        self.fields["payment"].queryset = open_payments(self.member.pk)

    def carry_out(self):
        payment = self.cleaned_data["payment"]
        receipt = desk.record_receipt(
            channel=Channel(self.cleaned_data["channel"]),
            amount=self.cleaned_data["amount"],
            note=self.cleaned_data["note"],
            member_id=self.member.pk,
            payment_id=payment and payment.pk,
            by_id=self.caller.pk,
            now=self.now,
            **self.once(),
        )
        return f"KES {receipt.amount:,} taken: receipt {receipt.number}."


class FreezeForm(MemberAct):
    """Freeze a period for some days. A second sending is refused: the days are frozen already."""

    name, title = "freeze", "Freeze"
    period = PeriodField(queryset=Subscription.objects.none(), empty_label=None)
    starts_on = DayField(label="First frozen day")
    ends_on = DayField(label="Back on")
    reason = forms.CharField(max_length=120, widget=UnfoldAdminTextInputWidget)

    def offer(self):
        today = business_day(self.now)
        self.fields["period"].queryset = (
            Subscription.objects.filter(member=self.member.pk, fact=Fact.GRANTED, ends_on__gt=today)
            .select_related("plan")
            .order_by("starts_on", "pk")
        )
        self.fields["starts_on"].initial = today

    @property
    def is_possible(self):
        return bool(self.fields["period"].queryset)

    def carry_out(self):
        period = self.cleaned_data["period"]
        made = services.freeze(
            subscription_id=period.pk,
            starts_on=self.cleaned_data["starts_on"],
            ends_on=self.cleaned_data["ends_on"],
            reason=self.cleaned_data["reason"],
            kind=FreezeKind.STAFF if may_give_days(self.caller, period) else FreezeKind.MEMBER,
            by_id=self.caller.pk,
            now=self.now,
        )
        return f"Frozen for {(made.ends_on - made.starts_on).days} days, which come back at the end."


class GiftForm(ActDoneOnce):
    """Give the days of a plan for nothing, with the reason."""

    name, title = "gift", "Gift days"
    plan = PlanField(label="Days of")
    reason = forms.CharField(max_length=50, widget=UnfoldAdminTextInputWidget)

    def carry_out(self):
        given = services.give(
            member_id=self.member.pk,
            plan_code=self.cleaned_data["plan"].code,
            reason=self.cleaned_data["reason"],
            by_id=self.caller.pk,
            now=self.now,
            **self.once(),
        )
        last = given.ends_on - timedelta(days=1)
        return f"{given.plan.name} is given, until {day(last)}."


ACTS: dict[str, type[MemberAct]] = {act.name: act for act in (SellForm, PromptForm, TakeForm, FreezeForm, GiftForm)}


def day(on: date) -> str:
    """Return a day as people write it: 2 Nov 2026."""
    return f"{on.day} {on:%b %Y}"


def open_payments(payer_id: int) -> Any:
    """Return the payments of a payer that take money, oldest first."""
    mine = Payment.objects.filter(payer=payer_id, status__in=PAYABLE, amount_due__gt=F("amount_paid"))
    return mine.order_by("created_at", "pk")
