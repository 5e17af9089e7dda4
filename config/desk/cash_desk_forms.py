"""What is typed at the cash desk of the admin. A form checks it, and makes the one call of a service that does it."""

import uuid
from datetime import datetime

from django import forms
from django.core.exceptions import ValidationError
from unfold.widgets import UnfoldAdminIntegerFieldWidget, UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

from api import idempotency
from api.money import MAX_KES
from payments.desk import cash_sessions, desk_receipts, reported_codes, voids
from payments.forms import OwnerField, payment_called
from payments.models import CashSession, Channel, CodeClaim, Payment, Receipt


class ShillingsField(forms.IntegerField):
    """Whole Kenyan shillings."""

    widget = UnfoldAdminIntegerFieldWidget(attrs={"inputmode": "numeric", "autocomplete": "off"})

    def __init__(self, *, min_value: int, **kwargs):
        super().__init__(min_value=min_value, max_value=MAX_KES, **kwargs)


class TextField(forms.CharField):
    """A line of text that the browser does not fill in by itself."""

    widget = UnfoldAdminTextInputWidget(attrs={"autocomplete": "off"})


class DeskAct(forms.Form):
    """One act at the desk; `address` is where it is sent."""

    name = title = ""

    def __init__(self, typed=None, *, address: str, **kwargs):
        # Forms of different acts stand on one page: each field's id begins with the act's name.
        super().__init__(typed, auto_id=f"{self.name}-%s", **kwargs)
        self.address = address

    def carry_out(self, *, by_id: int, now: datetime) -> str:
        """Do it, and return what came of it in one sentence for whoever asked.

        :raises DomainError: the service refused
        """
        raise NotImplementedError


class OpenForm(DeskAct):
    """Open a drawer. A second sending is refused while the drawer is open."""

    name, title = "open", "Open the drawer"
    opening_float = ShillingsField(min_value=0, label="What lies in it, in KES")

    def carry_out(self, *, by_id, now):
        session = cash_sessions.open_session(cashier_id=by_id, now=now, **self.cleaned_data)
        return f"The drawer is open with KES {session.opening_float:,}."


class TakeForm(DeskAct):
    """Take cash, or note a bank transfer. The hidden key makes a second sending count for nothing."""

    name, title = "take", "Take money"
    key = forms.RegexField(idempotency.KEY, widget=forms.HiddenInput, initial=uuid.uuid4)
    owner = OwnerField(help_text="For a member: what is open, oldest first; the rest is credit.")
    amount = ShillingsField(min_value=1, label="Amount in KES")
    channel = forms.ChoiceField(
        choices=[(Channel.CASH.value, "Cash"), (Channel.BANK.value, "Bank transfer")],
        label="How it came",
        initial=Channel.CASH.value,
        widget=UnfoldAdminSelectWidget,
    )
    note = TextField(
        max_length=64, required=False, label="Bank's reference", help_text="From the bank slip; needed of a transfer."
    )

    def carry_out(self, *, by_id, now):
        typed = {name: self.data.get(name) for name in self.fields}
        receipt = desk_receipts.record_receipt(
            channel=Channel(self.cleaned_data["channel"]),
            amount=self.cleaned_data["amount"],
            note=self.cleaned_data["note"],
            by_id=by_id,
            now=now,
            idempotency_key=self.cleaned_data["key"],
            body_fingerprint=idempotency.fingerprint(self.address, typed),
            **self.cleaned_data["owner"],
        )
        return f"KES {receipt.amount:,} taken: receipt {receipt.number}."


class ClaimForm(DeskAct):
    """Note a code that a payer shows. A second sending changes nothing."""

    name, title = "claim", "Member says “I paid” by M-Pesa"
    code = TextField(max_length=32, label="M-Pesa code")
    payment = TextField(max_length=40, label="Payment reference")

    def clean_payment(self):
        payment = payment_called(self.cleaned_data["payment"])
        if payment is None:
            raise ValidationError("No payment has this reference.", code="payment_not_found")
        return payment

    def carry_out(self, *, by_id, now):
        payment = self.cleaned_data["payment"]
        claim = reported_codes.report_code(code=self.cleaned_data["code"], payment_id=payment.pk, by_id=by_id, now=now)
        return told_of_claim(claim, payment)


class AskForm(DeskAct):
    """Ask for a void. A second sending changes nothing."""

    name, title = "ask", "Ask to void a receipt"
    number = TextField(max_length=16, label="Receipt number")
    reason = TextField(max_length=200)

    def clean_number(self):
        receipt = Receipt.objects.filter(number=self.cleaned_data["number"]).first()
        if receipt is None:
            raise ValidationError("No cash or bank receipt has this number.", code="receipt_not_found")
        return receipt

    def carry_out(self, *, by_id, now):
        receipt = self.cleaned_data["number"]
        voids.ask_void(receipt_id=receipt.pk, reason=self.cleaned_data["reason"], by_id=by_id, now=now)
        return f"Receipt {receipt.number} stands until a second person confirms its void."


class CloseForm(DeskAct):
    """Count and close. The hidden drawer makes a second sending refused, whatever was opened since."""

    name, title = "close", "Count and close"
    drawer = forms.IntegerField(min_value=1, max_value=2**62, widget=forms.HiddenInput)
    counted = ShillingsField(min_value=0, label="Counted in the drawer, in KES")
    note = TextField(max_length=200, required=False)

    def carry_out(self, *, by_id, now):
        session = cash_sessions.close_session(
            cashier_id=by_id,
            counted=self.cleaned_data["counted"],
            note=self.cleaned_data["note"],
            session_id=self.cleaned_data["drawer"],
            now=now,
        )
        return f"The drawer is closed: {over_or_short(session)}."


def told_of_claim(claim: CodeClaim, payment: Payment) -> str:
    """Return what a code that was shown is worth, in one sentence."""
    if claim.receipt_id is None:
        return f"{claim.code} is noted for {payment.reference}. It is no money until Safaricom tells of it."
    return f"The money of {claim.code} is here, for {payment.reference}."


def over_or_short(session: CashSession) -> str:
    """Return what the count of a closed drawer came to, in words."""
    difference = session.difference
    if not difference:
        return f"KES {session.counted:,} counted, as expected"
    side = "over" if difference > 0 else "short"
    return f"KES {abs(difference):,} {side} (counted {session.counted:,}, expected {session.expected:,})"


def confirm_void(*, request_id: int, by_id: int, now: datetime) -> str:
    """Confirm a void, and return what came of it in one sentence."""
    receipt = voids.confirm_void(request_id=request_id, by_id=by_id, now=now)
    return f"Receipt {receipt.number} is void."


def decline_void(*, request_id: int, by_id: int, now: datetime) -> str:
    """Decline a void, and return what came of it in one sentence."""
    declined = voids.decline_void(request_id=request_id, by_id=by_id, now=now)
    return f"Receipt {declined.receipt.number} stands."


ACTS: dict[str, type[DeskAct]] = {act.name: act for act in (OpenForm, TakeForm, ClaimForm, AskForm, CloseForm)}
# What is decided by a button alone, nothing being typed.
DECISIONS = {"confirm": confirm_void, "decline": decline_void}
