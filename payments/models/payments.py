"""A payment: an amount due, its status and its history."""

from datetime import datetime

from django.conf import settings
from django.db import models
from django.db.models import F, Q

from api.names import NameField


class PaymentStatus(models.TextChoices):
    PENDING = "pending"  # no push was requested yet
    PROCESSING = "processing"  # a push is, or may be, on a phone
    PARTIALLY_PAID = "partially_paid"  # it has some money, less than the amount due
    PAID = "paid"  # receipts cover the amount due
    FAILED = "failed"  # the last push ended without money; another may be requested
    EXPIRED = "expired"  # `expires_at` has passed; late money still pays it
    CANCELLED = "cancelled"  # cancelled by a person, or its order expired; late money becomes member credit
    REFUNDED = "refunded"  # the money went back to the payer


class Payment(models.Model):
    """An amount due from one payer, paid by any number of receipts. Only payments.services writes its status."""

    reference = models.CharField(
        max_length=12,
        unique=True,
        help_text="The account number that the payer sees and types; its last character is a check character.",
    )
    payer = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="payments")
    # The group payment that this payment belongs to. A parent pays for three children with one push: the reference and
    # the push of the group payment cover all of its grouped payments.
    head = models.ForeignKey("self", null=True, blank=True, on_delete=models.PROTECT, related_name="grouped_payments")
    description = NameField(max_length=120)
    amount_due = models.PositiveIntegerField(help_text="Whole Kenyan shillings.")
    amount_paid = models.PositiveIntegerField(default=0, help_text="Sum of the live allocations.")
    deposit = models.PositiveIntegerField(
        help_text="The minimum payment, whole KES: when it is reached, the purchase starts."
    )
    deposit_paid_at = models.DateTimeField(
        null=True, blank=True, help_text="When the money moved that reached the minimum payment."
    )
    status = models.CharField(max_length=16, choices=PaymentStatus, default=PaymentStatus.PENDING)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    paid_at = models.DateTimeField(null=True, blank=True, help_text="When the money moved that reached the amount due.")

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=~Q(status=PaymentStatus.PAID) | Q(paid_at__isnull=False), name="payment_paid_has_a_moment"
            ),
            models.CheckConstraint(
                condition=Q(amount_paid__lte=F("amount_due")), name="payment_never_holds_more_than_due"
            ),
            models.CheckConstraint(
                condition=~Q(status=PaymentStatus.PAID) | Q(amount_paid=F("amount_due")),
                name="payment_paid_is_covered",
            ),
            models.CheckConstraint(
                condition=~Q(status=PaymentStatus.PARTIALLY_PAID)
                | Q(amount_paid__gt=0, amount_paid__lt=F("amount_due")),
                name="payment_partially_paid_lacks_some",
            ),
            models.CheckConstraint(condition=Q(deposit__lte=F("amount_due")), name="payment_deposit_is_part_of_it"),
            models.CheckConstraint(
                condition=Q(status__in=[PaymentStatus.CANCELLED, PaymentStatus.REFUNDED], deposit_paid_at__isnull=True)
                | Q(deposit_paid_at__isnull=True, amount_paid__lt=F("deposit"))
                | Q(deposit_paid_at__isnull=False, amount_paid__gte=F("deposit")),
                name="payment_deposit_has_come_or_not",
            ),
            models.CheckConstraint(condition=~Q(head=F("id")), name="payment_is_not_its_own_head"),
        ]
        indexes = [
            models.Index(fields=["payer", "-created_at"], name="payment_by_payer"),
            models.Index(fields=["-created_at", "-id"], name="payment_newest_first"),
            models.Index(
                fields=["payer", "created_at"],
                condition=Q(status__in=("pending", "processing", "partially_paid", "failed", "expired")),
                name="payment_open_by_payer",
            ),
            models.Index(
                fields=["expires_at"],
                condition=Q(status__in=("pending", "processing", "failed")),
                name="payment_open_by_expiry",
            ),
        ]

    def __str__(self):
        return self.reference

    @property
    def amount_owed(self) -> int:
        """Return how much is still due, in whole KES."""
        return self.amount_due - self.amount_paid

    @property
    def is_debt(self) -> bool:
        """Return whether it is a debt from before this system: it buys nothing, and does not expire."""
        return self.deposit == 0 and self.amount_due > 0

    @property
    def matches_until(self) -> datetime:
        """Return until when an expired payment is still matched by its amount alone: twice its lifetime."""
        return self.expires_at + (self.expires_at - self.created_at)


class PaymentEvent(models.Model):
    """One change of a payment's status, written in the same statement. A trigger refuses update and delete."""

    payment = models.ForeignKey(Payment, on_delete=models.PROTECT, related_name="events")
    from_status = models.CharField(
        max_length=16, choices=PaymentStatus, blank=True, help_text="Empty for a new payment."
    )
    to_status = models.CharField(max_length=16, choices=PaymentStatus)
    evidence = models.CharField(max_length=160, help_text="The cause, such as `receipt 12` or `push 7 ended 1032`.")
    by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="+")
    at = models.DateTimeField()

    class Meta:
        indexes = [models.Index(fields=["payment", "id"], name="payment_event_in_order")]

    def __str__(self) -> str:
        return f"{self.payment}: {self.get_to_status_display()}"
