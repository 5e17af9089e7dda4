"""Sell a plan, push a payment to a phone, take cash or a bank transfer, enter an M-Pesa code, record a refund."""

import re
from datetime import date
from typing import Any

from django import forms
from django.db.models import F, Q
from django.urls import reverse
from django.utils.html import format_html
from django.utils.timezone import localtime
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

from api.admin.form_fields import PhoneField, ShillingsField, TextField
from api.admin.staff_actions import KeyedAction
from api.business_days import business_day
from config.desk.actions.base import MemberAction, day, days_of, periods_paid_by
from config.desk.actions.fields import TAKES_MONEY, PaymentField, PlanField, open_payments
from payments.desk import desk_receipts, refunds, reported_codes
from payments.forms import OwnerField, PaidFromField, PaymentReferenceField
from payments.models import Account, CashSession, Channel, Payment, Receipt
from payments.pushes import push_requests
from payments.services import ledger
from payments.services.allocation import PAYABLE
from payments.services.transitions import ACCEPTS_PUSH
from subscriptions.models import Fact, Subscription
from subscriptions.services import purchase_requests

# The newest receipts that the refund form offers. Older ones are refunded over the API.
REFUNDABLE = 30
# The newest payments that the form for a code offers of a member who owes nothing.
NEWEST_PAYMENTS = 5


class SellForm(KeyedAction, MemberAction):
    """Sell a plan, and send an STK push for its payment."""

    name, title = "sell", "Sell a plan"
    plan = PlanField()
    phone_number = PhoneField(required=False, label="Phone for the STK push", help_text="Leave empty to send no push.")

    def prepare(self):
        self.fields["plan"].queryset = self.fields["plan"].queryset.filter(is_on_sale=True)
        self.fields["phone_number"].initial = self.member.phone_number

    def perform(self):
        bought = purchase_requests.request_purchase(
            caller=self.caller,
            member=self.member.pk,
            plan=self.cleaned_data["plan"].code,
            phone_number=self.cleaned_data["phone_number"],
            now=self.now,
            idempotency_key=self.idempotency_key,
        ).subscription
        bought.refresh_from_db()  # credit may have paid it
        payment, today = bought.payment, business_day(self.now)
        sold = f"{bought.plan.name} is sold"
        sold += f": KES {payment.amount_owed:,} to pay as {payment.reference}." if payment.amount_owed else " and paid."
        if bought.fact == Fact.GRANTED:
            return f"{sold} It runs {days_of(bought)}."
        first = first_free_day(bought, paid_on=today)
        return f"{sold} Paid today, it begins on {day(first)}." if first > today else sold


class PushForm(MemberAction):
    """Send an STK push for an open payment. A second sending is refused while the first push is open."""

    name, title = "prompt", "Send an STK push"
    payment = PaymentField(empty_label=None)
    phone_number = PhoneField(label="Phone for the STK push")

    def prepare(self):
        self.fields["payment"].queryset = open_payments(self.member.pk).filter(status__in=ACCEPTS_PUSH)
        self.fields["phone_number"].initial = self.member.phone_number

    @property
    def is_possible(self):
        return bool(self.fields["payment"].queryset)

    def perform(self):
        push = push_requests.request_push(
            payment_id=self.cleaned_data["payment"].pk,
            phone=self.cleaned_data["phone_number"],
            created_by_id=self.caller.pk,
            now=self.now,
        )
        return f"An STK push of KES {push.amount:,} is on its way to the phone."


class TakeForm(KeyedAction, MemberAction):
    """Record cash or a bank transfer: on the member page for its member, at the cash desk for an owner typed in."""

    name, title = "take", "Take money"
    owner = OwnerField(help_text="For a member: open payments, oldest first; the rest becomes credit.")
    amount = ShillingsField(min_value=1, label="Amount in KES")
    channel = forms.ChoiceField(
        choices=[(Channel.CASH.value, "Cash"), (Channel.BANK.value, "Bank transfer")],
        label="Paid by",
        initial=Channel.CASH.value,
        widget=UnfoldAdminSelectWidget,
    )
    payment = PaymentField(
        required=False, empty_label="Open payments, oldest first; the rest becomes credit", label="For"
    )
    note = TextField(
        max_length=64,
        required=False,
        label="Bank reference",
        help_text="Required for a bank transfer. It is on the bank slip.",
    )

    def prepare(self):
        if self.member:
            del self.fields["owner"]
            self.fields["payment"].queryset = payments_for(self)
        else:
            del self.fields["payment"]

    @property
    def hint(self):
        # The cash desk itself says above its forms that the drawer is closed.
        if not self.member or CashSession.objects.filter(cashier=self.caller, closed_at=None).exists():
            return ""
        text = 'Your cash drawer is closed. <a class="text-primary-600" href="{}">Open it at the cash desk</a> first.'
        return format_html(text, reverse("cash-desk"))

    def perform(self):
        receipt = desk_receipts.record_receipt(
            channel=Channel(self.cleaned_data["channel"]),
            amount=self.cleaned_data["amount"],
            note=self.cleaned_data["note"],
            by_id=self.caller.pk,
            now=self.now,
            **self.owner_of_money(),
            idempotency_key=self.idempotency_key,
        )
        return f"KES {receipt.amount:,} taken: receipt {receipt.number}.{periods_paid_by(receipt)}"

    def owner_of_money(self) -> dict[str, int]:
        """Return the owner as keyword arguments of the service."""
        if not self.member:
            return self.cleaned_data["owner"]
        payment = self.cleaned_data["payment"]
        return {"payment_id": payment.pk} if payment else {"member_id": self.member.pk}


class ReportedCodeForm(MemberAction):
    """Enter the M-Pesa code that a payer shows. A second sending changes nothing.

    The member page offers the member's open payments; of a member who owes nothing, the newest payments, since money
    for them becomes credit. At the cash desk the payment's reference is typed.
    """

    name, title, button = "claim", "Enter an M-Pesa code", "Look for the money"
    payment = PaymentField(empty_label=None, label="Payment")
    code = forms.CharField(
        max_length=32,
        label="M-Pesa code",
        help_text="From the M-Pesa message on the payer's phone.",
        widget=UnfoldAdminTextInputWidget(attrs={"autocomplete": "off", "autocapitalize": "characters"}),
    )

    def prepare(self):
        self.is_owed = True
        if not self.member:
            self.fields["payment"] = PaymentReferenceField(max_length=40, label="Payment reference")
            return
        owed = payments_for(self)
        newest = Payment.objects.filter(payer=self.member.pk).order_by("-created_at", "-pk")
        self.is_owed = any(each.amount_owed for each in owed if each.status in PAYABLE)
        self.offered = {each.pk for each in (owed if self.is_owed else [*owed, *newest[:NEWEST_PAYMENTS]])}
        self.fields["payment"].queryset = (owed if self.is_owed else newest).filter(pk__in=self.offered)

    @property
    def is_possible(self):
        return not self.member or bool(self.offered)

    @property
    def hint(self):
        if self.is_owed:
            return ""
        return (
            "The member owes nothing, so the money will become credit. If it has arrived, it is among the review items."
        )

    def perform(self):
        payment = self.cleaned_data["payment"]
        reported = reported_codes.report_code(
            code=self.cleaned_data["code"], payment_id=payment.pk, by_id=self.caller.pk, now=self.now
        )
        if reported.receipt is None:
            return f"{reported.code} is saved for {payment.reference}. It counts when Safaricom confirms the money."
        return f"The money of {reported.code} is here, and pays {payment.reference}.{periods_paid_by(reported.receipt)}"


class RefundForm(KeyedAction, MemberAction):
    """Record that staff returned money of a receipt, or of the member's credit."""

    name, title = "refund", "Record a refund"
    CREDIT = "credit"
    given_of = forms.ChoiceField(label="Refund of", widget=UnfoldAdminSelectWidget)
    amount = ShillingsField(
        required=False, min_value=1, label="Amount in KES", help_text="Leave empty to refund all of it."
    )
    paid_from = PaidFromField(help_text="Kilabu sends no money. Return it first, then record it here.")
    reason = TextField(max_length=255)

    def prepare(self):
        credit = -ledger.balance(Account.MEMBER_CREDIT, member_id=self.member.pk)
        receipts = Receipt.objects.filter(member=self.member.pk)
        if not self.is_bound:  # a second sending may name a receipt that the first one refunded
            receipts = receipts.filter(reversed_at=None, amount__gt=F("amount_refunded"))
        newest = receipts.order_by("-paid_at", "-pk")[:REFUNDABLE]
        credits = [(self.CREDIT, f"Credit: KES {credit:,}")] if credit > 0 or self.is_bound else []
        self.fields["given_of"].choices = [*credits, *((str(each.pk), refundable(each)) for each in newest)]

    @property
    def is_possible(self):
        return bool(self.fields["given_of"].choices)

    def perform(self):
        source = self.cleaned_data["given_of"]
        made = refunds.record_refund(
            paid_from=Account(self.cleaned_data["paid_from"]),
            reason=self.cleaned_data["reason"],
            amount=self.cleaned_data["amount"],
            member_id=self.member.pk if source == self.CREDIT else None,
            receipt_id=None if source == self.CREDIT else int(source),
            by_id=self.caller.pk,
            now=self.now,
            idempotency_key=self.idempotency_key,
        )
        return f"KES {sum(each.amount for each in made):,} is recorded as refunded."


def payments_for(form: MemberAction) -> Any:
    """Return the member's open payments, and the payment that a sent form names: its first sending may have paid it."""
    named = re.fullmatch("[0-9]{1,18}", form.data.get("payment", ""))
    payments = Payment.objects.filter(payer=form.member.pk)
    return payments.filter(TAKES_MONEY | Q(pk=named[0]) if named else TAKES_MONEY).order_by("created_at", "pk")


def first_free_day(period: Subscription, *, paid_on: date) -> date:
    """Return the day on which the period would begin: the first from `paid_on` on that no granted period covers."""
    granted: Any = Subscription.objects.filter(
        member=period.member_id, group=period.group_id, fact=Fact.GRANTED, ends_on__gt=paid_on
    )
    free = paid_on
    for each in granted.order_by("starts_on", "pk"):
        if each.starts_on <= free:
            free = max(free, each.ends_on)
    return free


def refundable(receipt: Receipt) -> str:
    """Return a receipt as the refund form shows it, with the KES that it still holds."""
    name = receipt.number or receipt.code or f"receipt {receipt.pk}"
    return f"KES {receipt.amount_held:,} of {name}, {day(localtime(receipt.paid_at).date())}"
