"""An STK push: a request for money that M-Pesa shows on a phone."""

from django.conf import settings
from django.db import models
from django.db.models import Q

from payments.models.payments import Payment


class PushStatus(models.TextChoices):
    CREATED = "created"  # to be sent by a worker
    SENDING = "sending"  # claimed by a worker, which may be calling Safaricom
    SENT = "sent"  # accepted by Safaricom; it is on the phone
    UNKNOWN = "unknown"  # the outcome of the call is not known; it is never sent again
    SUCCEEDED = "succeeded"  # money moved
    FAILED = "failed"  # ended without money
    CANCELLED = "cancelled"  # refused on the phone
    TIMED_OUT = "timed_out"  # not answered on the phone


OPEN_PUSH = (PushStatus.CREATED, PushStatus.SENDING, PushStatus.SENT, PushStatus.UNKNOWN)


class StkPush(models.Model):
    """One STK push (SIM Toolkit push, "M-Pesa Express") for a payment. Only payments.pushes writes its status."""

    payment = models.ForeignKey(Payment, on_delete=models.PROTECT, related_name="pushes")
    phone = models.CharField(max_length=12, help_text="The phone that gets the push; any phone may pay for anyone.")
    amount = models.PositiveIntegerField(help_text="Whole Kenyan shillings.")
    status = models.CharField(max_length=16, choices=PushStatus, default=PushStatus.CREATED)
    # The worker draws the token when it claims the push. The token itself is only in the path of the callback URL.
    token_hash = models.CharField(max_length=64, null=True, unique=True, help_text="SHA-256, hexadecimal.")
    merchant_request_id = models.CharField(max_length=64, blank=True)
    checkout_request_id = models.CharField(max_length=64, null=True, unique=True)
    result_code = models.CharField(max_length=32, blank=True)
    result_desc = models.CharField(max_length=255, blank=True)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="+")
    created_at = models.DateTimeField()
    sent_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)
    next_check_at = models.DateTimeField(
        null=True, help_text="When to query Safaricom about it next; empty: never again."
    )
    checks = models.PositiveSmallIntegerField(default=0)

    class Meta:
        verbose_name = "STK push"
        verbose_name_plural = "STK pushes"
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
        return f"STK push of KES {self.amount:,} for {self.payment}"
