"""What money came, and where it was put."""

from django.conf import settings
from django.db import models
from django.db.models import F, Q

from payments.models.payments import Payment
from payments.models.pushes import StkPush


class Channel(models.TextChoices):
    MPESA_STK = "mpesa_stk", "M-Pesa prompt"
    MPESA_C2B = "mpesa_c2b", "M-Pesa paybill"
    CASH = "cash"
    BANK = "bank"


class AllocationRule(models.TextChoices):
    PROMPT = "prompt"  # the push was for this payment
    REFERENCE = "reference"  # the payer typed the payment's reference
    EXACT = "exact"  # the amount is just what one open payment of the member needs
    OLDEST = "oldest"  # the member's oldest open payment
    CREDIT = "credit"  # money left over earlier, spent by itself
    BY_HAND = "by_hand"  # staff said so


class Receipt(models.Model):
    """Money that moved. One M-Pesa code is one receipt, whichever channels report it, in whatever order."""

    unspent: int  # KES that no payment uses, where a query annotated it (allocation.with_unspent)

    channel = models.CharField(max_length=12, choices=Channel)
    code = models.CharField(max_length=16, null=True, blank=True, unique=True, help_text="M-Pesa's, upper-cased.")
    push = models.OneToOneField(
        StkPush,
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="receipt",
        help_text="The prompt it answers; lets a success learnt by query wait for its code.",
    )
    push_guessed = models.BooleanField(
        default=False, help_text="Paired with the prompt by amount, account and time; the code has not proved it yet."
    )
    amount = models.PositiveIntegerField(help_text="Whole Kenyan shillings.")
    amount_refunded = models.PositiveIntegerField(default=0, db_default=0, help_text="Whole KES given back of it.")
    paid_at = models.DateTimeField(help_text="When the money moved, not when we learnt of it.")
    payer_name = models.CharField(max_length=120, blank=True)
    sender = models.CharField(max_length=80, blank=True, help_text="Masked or hashed, as it came.")
    account_typed = models.CharField(max_length=64, blank=True)
    member = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.PROTECT, related_name="receipts"
    )
    recorded_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )
    number = models.CharField(
        max_length=16, null=True, blank=True, unique=True, help_text="Of desk money: year and a number without gaps."
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
    idempotency_key = models.CharField(max_length=64, null=True, blank=True, help_text="Of desk money.")
    body_fingerprint = models.CharField(
        max_length=64, blank=True, default="", db_default="", help_text="SHA-256 of the request's body."
    )

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
            models.CheckConstraint(
                condition=Q(amount_refunded__lte=F("amount")), name="receipt_gives_back_no_more_than_came"
            ),
            models.UniqueConstraint(
                fields=["recorded_by", "idempotency_key"],
                condition=Q(idempotency_key__isnull=False),
                name="receipt_idempotency_key_once_per_person",
            ),
        ]
        indexes = [
            models.Index(fields=["member", "-paid_at"], name="receipt_by_member"),
            models.Index(fields=["-paid_at", "-id"], name="receipt_newest_first"),
            # What came on a day, week or month is summed from this alone, however many receipts there are.
            models.Index(
                fields=["paid_at"],
                include=["channel", "amount", "amount_refunded"],
                condition=Q(reversed_at__isnull=True),
                name="receipt_live_sums",
            ),
        ]

    def __str__(self):
        """What people call it: our number, else M-Pesa's code, else (the code is still to come) our id."""
        return self.number or self.code or f"M{self.pk}"

    @property
    def amount_held(self) -> int:
        """What of it is still here, in KES."""
        return 0 if self.reversed_at else self.amount - self.amount_refunded


class TaxNumber(models.Model):
    """The control number that a tax device gave a receipt. Written once: of a receipt the newest counts."""

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
    """Money of one receipt given to one payment. Undone allocations stay, with the moment they ended."""

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
