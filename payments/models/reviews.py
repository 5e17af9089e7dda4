"""What a person must look at."""

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
    AMOUNT_DIFFERS = "amount_differs"  # evidence and push disagree on amount, shortcode or ids
    CODE_USED_TWICE = "code_used_twice"  # one M-Pesa code for two different things
    CONTRADICTION = "contradiction"  # failure after success, or the like
    OVERDUE_UNKNOWN = "overdue_unknown"  # a push nobody could tell us the end of
    LATE_MONEY = "late_money"  # money for a cancelled or refunded payment, or for what was over by then
    LISTENER_FAILED = "listener_failed"  # money is in, what it buys was not granted
    UNREADABLE = "unreadable"  # a callback that is not what Safaricom sends
    CASH_DIFFERS = "cash_differs"  # a drawer was counted over or short


class ReviewStatus(models.TextChoices):
    OPEN = "open"
    RESOLVED = "resolved"
    DISMISSED = "dismissed"


class ReviewItem(models.Model):
    """What a person must look at, with the reason and the evidence."""

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
        verbose_name = "inbox item"
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
