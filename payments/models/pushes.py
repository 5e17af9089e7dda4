"""What was asked of a phone."""

from django.conf import settings
from django.db import models
from django.db.models import Q

from payments.models.payments import Payment


class PushStatus(models.TextChoices):
    CREATED = "created"  # waits for the worker
    SENDING = "sending"  # a worker has claimed it; the call may be under way
    SENT = "sent"  # Safaricom accepted it; the prompt is on the phone
    UNKNOWN = "unknown"  # the call's outcome is not known; never sent again
    SUCCEEDED = "succeeded"  # money moved
    FAILED = "failed"  # ended without money
    CANCELLED = "cancelled"  # the person said no
    TIMED_OUT = "timed_out"  # nobody answered


OPEN_PUSH = (PushStatus.CREATED, PushStatus.SENDING, PushStatus.SENT, PushStatus.UNKNOWN)


class StkPush(models.Model):
    """One prompt sent for a payment: SIM Toolkit push, "M-Pesa Express"."""

    payment = models.ForeignKey(Payment, on_delete=models.PROTECT, related_name="pushes")
    phone = models.CharField(max_length=12, help_text="Who gets the prompt; any phone may pay for anyone.")
    amount = models.PositiveIntegerField(help_text="Whole Kenyan shillings.")
    status = models.CharField(max_length=16, choices=PushStatus, default=PushStatus.CREATED)
    # The worker draws the token when it claims the push; it stands in the callback's path and nowhere else.
    token_hash = models.CharField(max_length=64, null=True, unique=True, help_text="SHA-256, hexadecimal.")
    merchant_request_id = models.CharField(max_length=64, blank=True)
    checkout_request_id = models.CharField(max_length=64, null=True, unique=True)
    result_code = models.CharField(max_length=32, blank=True)
    result_desc = models.CharField(max_length=255, blank=True)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="+")
    created_at = models.DateTimeField()
    sent_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)
    next_check_at = models.DateTimeField(null=True, help_text="When to ask Safaricom about it; empty: never again.")
    checks = models.PositiveSmallIntegerField(default=0)

    class Meta:
        verbose_name = "prompt (STK push)"
        verbose_name_plural = "prompts (STK push)"
        constraints = [
            models.UniqueConstraint(
                fields=["payment"], condition=Q(status__in=OPEN_PUSH), name="push_open_once_per_payment"
            ),
            models.UniqueConstraint(
                fields=["phone"], condition=Q(status__in=OPEN_PUSH), name="push_open_once_per_phone"
            ),
            models.CheckConstraint(condition=Q(amount__gt=0), name="push_asks_for_money"),
            models.CheckConstraint(
                condition=Q(status=PushStatus.CREATED) | Q(token_hash__isnull=False) | Q(sent_at__isnull=True),
                name="push_sent_has_a_token",
            ),
        ]
        indexes = [
            models.Index(fields=["next_check_at"], condition=Q(next_check_at__isnull=False), name="push_by_next_check"),
            models.Index(fields=["phone", "-created_at"], name="push_by_phone"),
            models.Index(
                fields=["created_at"],
                condition=Q(status__in=(PushStatus.CREATED, PushStatus.SENDING)),
                name="push_not_yet_sent",
            ),
        ]

    def __str__(self) -> str:
        return f"Prompt of KES {self.amount:,} for {self.payment}"
