"""Review items: evidence and money that staff must decide about."""

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q

from payments.models.callbacks import Callback
from payments.models.payments import Payment
from payments.models.pushes import StkPush
from payments.models.receipts import Receipt


class ReviewReason(models.TextChoices):
    UNMATCHED = "unmatched"  # money without an owner
    AMOUNT_DIFFERS = "amount_differs"  # evidence and push disagree on the amount, the shortcode or the IDs
    CODE_USED_TWICE = "code_used_twice"  # one M-Pesa code is reported for different money
    CONTRADICTION = "contradiction"  # evidence that contradicts earlier evidence: a failure after a success
    OVERDUE_UNKNOWN = "overdue_unknown"  # a push whose end is not known after the last query
    LATE_MONEY = "late_money"  # money for a cancelled or refunded payment, or for a purchase that was over
    LISTENER_FAILED = "listener_failed"  # the money is recorded, the purchase was not updated
    UNREADABLE = "unreadable"  # a callback that is not a message Safaricom sends
    POSSIBLE_DOUBLE = "possible_double"  # money with a code that may be the money of a push without one
    AMOUNT_WITH_CENTS = "amount_with_cents"  # money with cents; it is held until its code was checked
    CODE_MISSING = "code_missing"  # a success by query whose M-Pesa code has not arrived for a day
    UNKNOWN_CALLBACK = "unknown_callback"  # a callback with a token of ours, but its push or code check is not known
    CASH_DIFFERS = "cash_differs"  # a cash drawer was over or short


class ReviewStatus(models.TextChoices):
    OPEN = "open"
    RESOLVED = "resolved"
    DISMISSED = "dismissed"


class ReviewItem(models.Model):
    """A decision for staff, with its reason and its evidence."""

    reason = models.CharField(max_length=20, choices=ReviewReason)
    status = models.CharField(max_length=12, choices=ReviewStatus, default=ReviewStatus.OPEN)
    detail = models.CharField(max_length=255, blank=True, help_text="One plain sentence for staff.")
    receipt = models.ForeignKey(Receipt, null=True, on_delete=models.PROTECT, related_name="review_items")
    payment = models.ForeignKey(Payment, null=True, on_delete=models.PROTECT, related_name="review_items")
    push = models.ForeignKey(StkPush, null=True, on_delete=models.PROTECT, related_name="review_items")
    callback = models.ForeignKey(Callback, null=True, on_delete=models.PROTECT, related_name="review_items")
    suggested_members = ArrayField(models.BigIntegerField(), default=list)
    created_at = models.DateTimeField()
    resolved_at = models.DateTimeField(null=True)
    resolved_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="+")
    resolution = models.CharField(max_length=255, blank=True)

    class Meta:
        verbose_name = "review item"
        constraints = [
            models.UniqueConstraint(
                "receipt",
                "reason",
                "detail",
                condition=Q(status=ReviewStatus.OPEN, receipt__isnull=False),
                name="review_says_a_thing_of_a_receipt_once",
            ),
            models.CheckConstraint(
                condition=Q(status=ReviewStatus.OPEN) | Q(resolved_at__isnull=False), name="review_end_has_a_moment"
            ),
        ]
        indexes = [
            models.Index(fields=["-created_at"], condition=Q(status=ReviewStatus.OPEN), name="review_open"),
        ]

    def __str__(self) -> str:
        return f"{self.get_reason_display()}: {self.detail}"
