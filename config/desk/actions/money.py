"""Selling, prompting, taking money, noting codes and refunds."""

from django import forms
from django.db.models import F
from django.urls import reverse
from django.utils.html import format_html
from django.utils.timezone import localtime
from unfold.widgets import UnfoldAdminIntegerFieldWidget, UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

from api.admin.form_fields import PhoneField
from api.business_days import business_day
from api.money import MAX_KES
from config.desk.actions.acts import (
    ActDoneOnce,
    MemberAct,
    PaymentField,
    PlanField,
    begins,
    bought_with,
    day,
    open_payments,
    payments_for,
    runs,
)
from config.desk.cash_desk_forms import told_of_claim
from payments.desk import desk_receipts, refunds, reported_codes
from payments.forms import PaidFromField
from payments.models import Account, CashSession, Channel, Payment, Receipt
from payments.pushes import push_requests
from payments.services import ledger
from payments.services.allocation import PAYABLE
from payments.services.transitions import ACCEPTS_PUSH
from subscriptions.models import Fact
from subscriptions.services import purchase_requests

# Receipts that a refund may be recorded of, the newest; of older ones over the API.
REFUNDABLE = 30
# Payments of who owes nothing that a shown code may be noted for, the newest.
CLAIMABLE = 5


class SellForm(ActDoneOnce):
    """Sell a plan, and prompt a phone for the money."""

    name, title = "sell", "Sell a plan"
    plan = PlanField()
    phone_number = PhoneField(required=False, label="Phone to prompt", help_text="Empty: no prompt is sent.")

    def offer(self):
        self.fields["plan"].queryset = self.fields["plan"].queryset.filter(is_on_sale=True)
        self.fields["phone_number"].initial = self.member.phone_number

    def carry_out(self):
        bought = purchase_requests.request_purchase(
            caller=self.caller,
            member=self.member.pk,
            plan=self.cleaned_data["plan"].code,
            phone_number=self.cleaned_data["phone_number"],
            now=self.now,
            **self.once(),
        ).subscription
        bought.refresh_from_db()  # credit may have paid it
        payment, today = bought.payment, business_day(self.now)
        told = f"{bought.plan.name} is sold"
        told += f": KES {payment.amount_owed:,} to pay as {payment.reference}." if payment.amount_owed else " and paid."
        if bought.fact == Fact.GRANTED:
            return f"{told} It runs {runs(bought)}."
        first = begins(bought, paid_on=today)
        return f"{told} Paid today, it begins on {day(first)}." if first > today else told


class PromptForm(MemberAct):
    """Prompt a phone for an open payment. A second sending is refused while the first prompt is open."""

    name, title = "prompt", "Send a prompt"
    payment = PaymentField(queryset=Payment.objects.none(), empty_label=None)
    phone_number = PhoneField(label="Phone to prompt")

    def offer(self):
        self.fields["payment"].queryset = open_payments(self.member.pk).filter(status__in=ACCEPTS_PUSH)
        self.fields["phone_number"].initial = self.member.phone_number

    @property
    def is_possible(self):
        return bool(self.fields["payment"].queryset)

    def carry_out(self):
        push = push_requests.request_push(
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
        min_value=1, max_value=MAX_KES, label="Amount in KES", widget=UnfoldAdminIntegerFieldWidget
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
        self.fields["payment"].queryset = payments_for(self)

    @property
    def hint(self):
        if CashSession.objects.filter(cashier=self.caller, closed_at=None).exists():
            return ""
        told = 'Your drawer is closed. <a class="text-primary-600" href="{}">Open it at the cash desk</a> to take cash.'
        return format_html(told, reverse("cash-desk"))

    def carry_out(self):
        payment = self.cleaned_data["payment"]
        receipt = desk_receipts.record_receipt(
            channel=Channel(self.cleaned_data["channel"]),
            amount=self.cleaned_data["amount"],
            note=self.cleaned_data["note"],
            member_id=self.member.pk,
            payment_id=payment and payment.pk,
            by_id=self.caller.pk,
            now=self.now,
            **self.once(),
        )
        return f"KES {receipt.amount:,} taken: receipt {receipt.number}.{bought_with(receipt)}"


class ClaimForm(MemberAct):
    """Note the M-Pesa code of somebody who says that they have paid. A second sending changes nothing.

    Who owes nothing names one of their newest payments: money that comes for it later becomes credit.
    """

    name, title, button = "claim", "Member says “I paid”", "Look for the money"
    payment = PaymentField(queryset=Payment.objects.none(), empty_label=None, label="What for")
    code = forms.CharField(
        max_length=32,
        label="M-Pesa code",
        help_text="From the message on their phone.",
        widget=UnfoldAdminTextInputWidget(attrs={"autocomplete": "off", "autocapitalize": "characters"}),
    )

    def offer(self):
        owed = payments_for(self)
        newest = Payment.objects.filter(payer=self.member.pk).order_by("-created_at", "-pk")
        self.is_owed = any(each.amount_owed for each in owed if each.status in PAYABLE)
        self.offered = {each.pk for each in (owed if self.is_owed else [*owed, *newest[:CLAIMABLE]])}
        self.fields["payment"].queryset = (owed if self.is_owed else newest).filter(pk__in=self.offered)

    @property
    def is_possible(self):
        return bool(self.offered)

    @property
    def hint(self):
        if self.is_owed:
            return ""
        return "Nothing is owed: when the money comes, it becomes credit. Here already? Inbox items have it."

    def carry_out(self):
        payment = self.cleaned_data["payment"]
        claim = reported_codes.report_code(
            code=self.cleaned_data["code"], payment_id=payment.pk, by_id=self.caller.pk, now=self.now
        )
        return told_of_claim(claim, payment) + (bought_with(claim.receipt) if claim.receipt else "")


class RefundForm(ActDoneOnce):
    """Write down that money was given back, of a receipt or of the member's credit."""

    name, title = "refund", "Record a refund"
    CREDIT = "credit"
    given_of = forms.ChoiceField(label="What was given back", widget=UnfoldAdminSelectWidget)
    amount = forms.IntegerField(
        required=False,
        min_value=1,
        max_value=MAX_KES,
        label="Amount in KES",
        help_text="Empty: all of it.",
        widget=UnfoldAdminIntegerFieldWidget,
    )
    paid_from = PaidFromField(help_text="Kilabu sends no money: give it first, then write it down.")
    reason = forms.CharField(max_length=255, widget=UnfoldAdminTextInputWidget)

    def offer(self):
        credit = -ledger.balance(Account.MEMBER_CREDIT, member_id=self.member.pk)
        mine = Receipt.objects.filter(member=self.member.pk)
        if not self.is_bound:  # what is sent again may be given back already, which its key tells
            mine = mine.filter(reversed_at=None, amount__gt=F("amount_refunded"))
        newest = mine.order_by("-paid_at", "-pk")[:REFUNDABLE]
        offered = [(self.CREDIT, f"Credit: KES {credit:,}")] if credit > 0 or self.is_bound else []
        self.fields["given_of"].choices = [*offered, *((str(each.pk), refundable(each)) for each in newest)]

    @property
    def is_possible(self):
        return bool(self.fields["given_of"].choices)

    def carry_out(self):
        of = self.cleaned_data["given_of"]
        made = refunds.record_refund(
            paid_from=Account(self.cleaned_data["paid_from"]),
            reason=self.cleaned_data["reason"],
            amount=self.cleaned_data["amount"],
            member_id=self.member.pk if of == self.CREDIT else None,
            receipt_id=None if of == self.CREDIT else int(of),
            by_id=self.caller.pk,
            now=self.now,
            **self.once(),
        )
        return f"KES {sum(each.amount for each in made):,} is written down as given back."


def refundable(receipt: Receipt) -> str:
    """Return a receipt as people recognise it, with what of it is here."""
    name = receipt.number or receipt.code or f"receipt {receipt.pk}"
    return f"KES {receipt.amount_held:,} of {name}, {day(localtime(receipt.paid_at).date())}"
