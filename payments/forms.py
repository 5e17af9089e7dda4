"""What is typed in the admin about a review item. A form checks what is typed, and makes the one call that does it."""

from datetime import datetime

from django import forms
from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

from payments.desk import refunds, review_decisions
from payments.matching import references
from payments.models import Account, Payment


def payment_called(typed: str) -> Payment | None:
    """Return the payment of a reference as somebody typed it."""
    return Payment.objects.filter(reference=references.repair(typed) or typed).first()


class OwnerField(forms.CharField):
    """Whose money it is: a payment's reference or a member's number; read as services take an owner."""

    widget = UnfoldAdminTextInputWidget(attrs={"autocomplete": "off"})

    def __init__(self, **kwargs):
        super().__init__(max_length=40, label="Payment reference or member number", **kwargs)

    def clean(self, value) -> dict[str, int]:
        typed = super().clean(value)
        payment = payment_called(typed)
        if payment:
            return {"payment_id": payment.pk}
        member = get_user_model().objects.filter(member_number=typed).first()
        if member:
            return {"member_id": member.pk}
        raise ValidationError("No payment has this reference, and no member this number.", code="owner_needed")


class PaidFromField(forms.ChoiceField):
    """How a person gave money back; Kilabu sends none."""

    widget = UnfoldAdminSelectWidget

    def __init__(self, **kwargs):
        ways = {
            Account.MPESA: "M-Pesa, sent or reversed by hand",
            Account.CASH: "Cash out of my drawer",
            Account.BANK: "Bank transfer",
        }
        choices = [(account.value, way) for account, way in ways.items()]
        super().__init__(choices=choices, label="How it was given back", **kwargs)


class AssignForm(forms.Form):
    """Whose the money is."""

    title, done = "Assign", "The money has its owner."
    owner = OwnerField()

    def carry_out(self, *, item_id: int, by_id: int, now: datetime) -> None:
        review_decisions.assign_money(item_id=item_id, by_id=by_id, now=now, **self.cleaned_data["owner"])


class SentBackForm(forms.Form):
    """How it went back, and why. A second sending is refused: the item has ended."""

    title, done = "It was sent back", "The refund is recorded, and the item has ended."
    paid_from = PaidFromField()
    reason = forms.CharField(max_length=255, widget=UnfoldAdminTextInputWidget(attrs={"autocomplete": "off"}))

    def carry_out(self, *, item_id: int, by_id: int, now: datetime) -> None:
        refunds.send_back(
            item_id=item_id,
            paid_from=Account(self.cleaned_data["paid_from"]),
            reason=self.cleaned_data["reason"],
            by_id=by_id,
            now=now,
        )


class UndoForm(forms.Form):
    """Nothing is asked."""

    title, done = "Undo the assignment", "The money is nobody's again, and the item is open."

    def carry_out(self, *, item_id: int, by_id: int, now: datetime) -> None:
        review_decisions.undo_assignment(item_id=item_id, by_id=by_id, now=now)


class DismissForm(forms.Form):
    """Why nothing is to be done."""

    title, done = "Dismiss", "The item is dismissed."
    reason = forms.CharField(max_length=255, widget=UnfoldAdminTextInputWidget)

    def carry_out(self, *, item_id: int, by_id: int, now: datetime) -> None:
        review_decisions.dismiss_item(item_id=item_id, by_id=by_id, now=now, **self.cleaned_data)


class TaxNumberForm(forms.Form):
    """The control number of a receipt, off the tax device's paper."""

    number = forms.CharField(
        max_length=40, label="Tax control number", widget=UnfoldAdminTextInputWidget(attrs={"autocomplete": "off"})
    )


REVIEW_ACTS = {"assign": AssignForm, "undo": UndoForm, "sent_back": SentBackForm, "dismiss": DismissForm}
