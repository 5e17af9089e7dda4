"""Receipts of money, and their allocations to payments."""

from django.conf import settings
from django.db import models
from django.db.models import F, Q

from api.names import NameField
from payments.models.payments import Payment
from payments.models.pushes import StkPush


class Channel(models.TextChoices):
    MPESA_STK = "mpesa_stk", "M-Pesa STK push"
    MPESA_C2B = "mpesa_c2b", "M-Pesa paybill"
    CASH = "cash"
    BANK = "bank"
    OPENING = "opening", "Opening balance"  # credit from before this system


class AllocationRule(models.TextChoices):
    PUSH = "prompt"  # the STK push was for this payment or its group
    REFERENCE = "reference"  # the payer typed the reference of the payment
    EXACT = "exact"  # one open payment of the member owes exactly this amount
    OLDEST = "oldest"  # the member's oldest open payment
    CREDIT = "credit"  # member credit, spent by the system
    BY_HAND = "by_hand"  # chosen by staff


class Receipt(models.Model):
    """Money that moved to us. One M-Pesa code is one receipt, whatever the order and the channels of its reports."""

    unspent: int  # whole KES without an allocation; set by allocation.receipts_with_credit

    channel = models.CharField(max_length=12, choices=Channel)
    code = models.CharField(
        max_length=16, null=True, blank=True, unique=True, help_text="The M-Pesa code, upper-cased."
    )
    push = models.OneToOneField(
        StkPush,
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="receipt",
        help_text="The STK push that it pays. It identifies the receipt of a queried success until its code is known.",
    )
    push_guessed = models.BooleanField(
        default=False, help_text="Paired with the push by amount, account and time, and not yet proved by the code."
    )
    amount = models.PositiveIntegerField(help_text="Whole Kenyan shillings.")
    cents = models.PositiveSmallIntegerField(
        default=0, db_default=0, help_text="Cents that M-Pesa reported beside the amount. They are in no book."
    )
    amount_refunded = models.PositiveIntegerField(default=0, db_default=0, help_text="Whole KES that were refunded.")
    paid_at = models.DateTimeField(help_text="When the money moved, not when it was reported.")
    payer_name = NameField(max_length=120, blank=True)
    sender = models.CharField(
        max_length=80, blank=True, help_text="The sender's phone as Safaricom reported it: whole, masked or hashed."
    )
    account_typed = models.CharField(max_length=64, blank=True)
    invoice_typed = models.CharField(
        max_length=64, blank=True, default="", db_default="", help_text="Bank wallets write the payer's name here."
    )
    member = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.PROTECT, related_name="receipts"
    )
    recorded_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )
    number = models.CharField(
        max_length=16,
        null=True,
        blank=True,
        unique=True,
        help_text="Of cash and bank receipts: the year and a number without gaps.",
    )
    cash_session = models.ForeignKey(
        "payments.CashSession", null=True, blank=True, on_delete=models.PROTECT, related_name="receipts"
    )
    created_at = models.DateTimeField()
    reversed_at = models.DateTimeField(null=True, blank=True)
    reversed_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )
    reversal_reason = models.CharField(max_length=255, blank=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=~Q(channel__in=(Channel.CASH, Channel.BANK))
                | Q(number__isnull=False, recorded_by__isnull=False),
                name="receipt_of_the_desk_is_numbered",
            ),
            models.CheckConstraint(
                condition=~Q(channel=Channel.CASH) | Q(cash_session__isnull=False),
                name="receipt_of_cash_has_a_session",
            ),
            models.CheckConstraint(
                condition=~Q(channel__in=(Channel.CASH, Channel.BANK))
                | Q(reversed_at__isnull=True)
                | (Q(reversed_by__isnull=False) & ~Q(reversed_by=F("recorded_by"))),
                name="receipt_of_the_desk_is_voided_by_a_second_person",
            ),
            models.CheckConstraint(
                condition=Q(code__isnull=True) | Q(code__regex=r"^[0-9A-Z]{1,16}$"), name="receipt_code_is_canonical"
            ),
            models.CheckConstraint(condition=Q(amount__gt=0), name="receipt_is_of_money"),
            models.CheckConstraint(condition=Q(cents__lt=100), name="receipt_cents_are_less_than_a_shilling"),
            models.CheckConstraint(
                condition=Q(amount_refunded__lte=F("amount")), name="receipt_gives_back_no_more_than_came"
            ),
        ]
        indexes = [
            models.Index(fields=["member", "-paid_at"], name="receipt_by_member"),
            models.Index(fields=["-paid_at", "-id"], name="receipt_newest_first"),
            # The sums of a day, week or month are read from this index alone.
            models.Index(
                fields=["paid_at"],
                include=["channel", "amount", "amount_refunded"],
                condition=Q(reversed_at__isnull=True),
                name="receipt_live_sums",
            ),
        ]

    def __str__(self):
        """Return our receipt number, else the M-Pesa code, else the id, while the code is not known."""
        return self.number or self.code or f"M{self.pk}"

    @property
    def amount_held(self) -> int:
        """Return how much of the money has not been refunded or reversed, in whole KES."""
        return 0 if self.reversed_at else self.amount - self.amount_refunded


class TaxNumber(models.Model):
    """The control number of a receipt from a tax device. Written once; the newest of a receipt counts."""

    receipt = models.ForeignKey(Receipt, on_delete=models.PROTECT, related_name="tax_numbers")
    number = models.CharField(max_length=40)
    noted_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    noted_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(number__regex=r"^[0-9A-Z][0-9A-Z/.-]{3,39}$"), name="tax_number_is_canonical"
            )
        ]

    def __str__(self) -> str:
        return self.number


class Allocation(models.Model):
    """The part of a receipt's money that pays one payment. A released allocation stays, with `undone_at` set."""

    receipt = models.ForeignKey(Receipt, on_delete=models.PROTECT, related_name="allocations")
    payment = models.ForeignKey(Payment, on_delete=models.PROTECT, related_name="allocations")
    amount = models.PositiveIntegerField(help_text="Whole Kenyan shillings.")
    rule = models.CharField(max_length=12, choices=AllocationRule)
    made_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="+")
    created_at = models.DateTimeField()
    undone_at = models.DateTimeField(null=True)
    undone_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="+")

    class Meta:
        constraints = [models.CheckConstraint(condition=Q(amount__gt=0), name="allocation_is_of_money")]

    def __str__(self) -> str:
        return f"KES {self.amount:,} of {self.receipt} for {self.payment}"
