"""Forms of the admin about receipts and review items, and the fields that name a payment or an owner."""

from django import forms
from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from unfold.widgets import UnfoldAdminSelectWidget

from api.admin.form_fields import TextField
from api.admin.staff_actions import StaffAction, by_name
from payments.desk import receipt_pdf, refunds, review_decisions
from payments.matching import references
from payments.models import Account, Payment


def payment_named(typed: str) -> Payment | None:
    """Return the payment with a typed reference. A look-alike is repaired when its check character proves it."""
    return Payment.objects.filter(reference=references.repair(typed) or typed).first()


class PaymentReferenceField(TextField):
    """The reference of a payment; its value is the payment."""

    def clean(self, value) -> Payment:
        payment = payment_named(super().clean(value))
        if payment is None:
            raise ValidationError("No payment has this reference.", code="payment_not_found")
        return payment


class OwnerField(TextField):
    """The owner of money: a payment's reference or a member number. Its value is a keyword argument of a service."""

    def __init__(self, **kwargs):
        super().__init__(max_length=40, label="Payment reference or member number", **kwargs)

    def clean(self, value) -> dict[str, int]:
        typed = super().clean(value)
        payment = payment_named(typed)
        if payment:
            return {"payment_id": payment.pk}
        member = get_user_model().objects.filter(member_number=typed).first()
        if member:
            return {"member_id": member.pk}
        raise ValidationError("No payment has this reference, and no member this number.", code="owner_needed")


class PaidFromField(forms.ChoiceField):
    """How staff returned money; Kilabu sends none."""

    widget = UnfoldAdminSelectWidget

    def __init__(self, **kwargs):
        ways = {
            Account.MPESA: "M-Pesa, sent or reversed by hand",
            Account.CASH: "Cash from my drawer",
            Account.BANK: "Bank transfer",
        }
        choices = [(account.value, way) for account, way in ways.items()]
        super().__init__(choices=choices, label="Refunded by", **kwargs)


class AssignForm(StaffAction):
    """Assign the money of a review item to its owner. `subject` is the item's id, as in the forms below."""

    name, title = "assign", "Assign"
    owner = OwnerField()

    def perform(self):
        review_decisions.assign_money(
            item_id=self.subject, by_id=self.caller.pk, now=self.now, **self.cleaned_data["owner"]
        )
        return "The money is assigned to its owner."


class SentBackForm(StaffAction):
    """Record that the money was returned to its sender. A second sending is refused: the item is resolved."""

    name, title = "sent_back", "Returned to sender"
    paid_from = PaidFromField()
    reason = TextField(max_length=255)

    def perform(self):
        refunds.send_back(
            item_id=self.subject,
            paid_from=Account(self.cleaned_data["paid_from"]),
            reason=self.cleaned_data["reason"],
            by_id=self.caller.pk,
            now=self.now,
        )
        return "The refund is recorded, and the item is resolved."


class SameMoneyForm(StaffAction):
    """Decide that held money is the money of the STK push. Nothing is typed."""

    name, title = "same_money", "Same money as the STK push"

    def perform(self):
        review_decisions.decide_same_money(item_id=self.subject, by_id=self.caller.pk, now=self.now)
        return "The two receipts are one now."


class OtherMoneyForm(StaffAction):
    """Decide that held money is not the money of the STK push. Nothing is typed."""

    name, title = "other_money", "Other money"

    def perform(self):
        review_decisions.decide_other_money(item_id=self.subject, by_id=self.caller.pk, now=self.now)
        return "The money is not held any more. If it has no owner yet, it has a new review item."


class TakeForm(StaffAction):
    """Take the whole shillings of money with cents. Nothing is typed."""

    name, title = "take", "Take the whole shillings"

    def perform(self):
        review_decisions.take_whole_shillings(item_id=self.subject, by_id=self.caller.pk, now=self.now)
        return "The whole shillings are taken. If they have no owner yet, they have a new review item."


class UndoForm(StaffAction):
    """Undo the assignment of the money. Nothing is typed."""

    name, title = "undo", "Undo the assignment"

    def perform(self):
        review_decisions.undo_assignment(item_id=self.subject, by_id=self.caller.pk, now=self.now)
        return "The assignment is undone, and the item is open again."


class DismissForm(StaffAction):
    """Close the item with a reason, without moving money."""

    name, title = "dismiss", "Dismiss"
    reason = TextField(max_length=255)

    def perform(self):
        review_decisions.dismiss_item(
            item_id=self.subject, reason=self.cleaned_data["reason"], by_id=self.caller.pk, now=self.now
        )
        return "The item is dismissed."


class TaxNumberForm(StaffAction):
    """Store the control number that a tax device printed for a receipt. `subject` is the receipt's id."""

    name, title = "tax", "Save the tax control number"
    number = TextField(max_length=40, label="Tax control number")

    def perform(self):
        receipt_pdf.note_tax_number(
            receipt_id=self.subject, number=self.cleaned_data["number"], by_id=self.caller.pk, now=self.now
        )
        return "The tax control number is saved."


REVIEW_ACTIONS = by_name(AssignForm, SameMoneyForm, OtherMoneyForm, TakeForm, UndoForm, SentBackForm, DismissForm)
