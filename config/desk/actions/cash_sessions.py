"""Open and close the caller's cash drawer; ask for, confirm and decline the void of a receipt."""

from django import forms
from django.core.exceptions import ValidationError

from api.admin.form_fields import ShillingsField, TextField, WholeNumberField
from api.admin.staff_actions import StaffAction
from payments.desk import cash_sessions, voids
from payments.models import CashSession, Receipt


class OpenForm(StaffAction):
    """Open the caller's cash drawer. A second sending is refused while it is open."""

    name, title = "open", "Open the cash drawer"
    opening_float = ShillingsField(min_value=0, label="Cash in the drawer, in KES")

    def perform(self):
        session = cash_sessions.open_session(cashier_id=self.caller.pk, now=self.now, **self.cleaned_data)
        return f"The cash drawer is open with KES {session.opening_float:,}."


class CloseForm(StaffAction):
    """Count and close the caller's cash drawer. The hidden session makes a second sending refused."""

    name, title = "close", "Count and close"
    session = WholeNumberField(min_value=1, max_value=2**62, widget=forms.HiddenInput)
    counted = ShillingsField(min_value=0, label="Counted cash, in KES")
    note = TextField(max_length=200, required=False)

    def perform(self):
        session = cash_sessions.close_session(
            cashier_id=self.caller.pk,
            counted=self.cleaned_data["counted"],
            note=self.cleaned_data["note"],
            session_id=self.cleaned_data["session"],
            now=self.now,
        )
        return f"The cash drawer is closed: {count_result(session)}."


class AskVoidForm(StaffAction):
    """Ask for the void of a desk receipt. A second sending changes nothing."""

    name, title = "ask", "Ask to void a receipt"
    number = TextField(max_length=16, label="Receipt number")
    reason = TextField(max_length=200)

    def clean_number(self):
        receipt = Receipt.objects.filter(number=self.cleaned_data["number"]).first()
        if receipt is None:
            raise ValidationError("No cash or bank receipt has this number.", code="receipt_not_found")
        return receipt

    def perform(self):
        receipt = self.cleaned_data["number"]
        voids.ask_void(receipt_id=receipt.pk, reason=self.cleaned_data["reason"], by_id=self.caller.pk, now=self.now)
        return f"A second person must confirm the void of receipt {receipt.number}."


class ConfirmVoidForm(StaffAction):
    """Confirm a void that another person asked for. `subject` is the id of the request, as in the form below."""

    name, title = "confirm", "Confirm the void"

    def perform(self):
        receipt = voids.confirm_void(request_id=self.subject, by_id=self.caller.pk, now=self.now)
        return f"Receipt {receipt.number} is void."


class DeclineVoidForm(StaffAction):
    """Decline a void, or withdraw the caller's own request for it."""

    name, title = "decline", "Decline the void"

    def perform(self):
        declined = voids.decline_void(request_id=self.subject, by_id=self.caller.pk, now=self.now)
        return f"Receipt {declined.receipt.number} stays valid."


def count_result(session: CashSession) -> str:
    """Return the result of a drawer's count in words."""
    difference = session.difference
    if not difference:
        return f"KES {session.counted:,} counted, as expected"
    side = "over" if difference > 0 else "short"
    return f"KES {abs(difference):,} {side} (counted {session.counted:,}, expected {session.expected:,})"
