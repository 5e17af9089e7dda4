"""What Safaricom said."""

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.utils.formats import date_format
from django.utils.timezone import localtime

from payments.models.pushes import StkPush


class CallbackSource(models.TextChoices):
    STK = "stk"
    C2B_CONFIRMATION = "c2b_confirmation"
    C2B_VALIDATION = "c2b_validation"
    CODE_CHECK = "code_check"  # the Result of a Transaction Status question
    CODE_CHECK_TIMEOUT = "code_check_timeout"  # the question expired in Safaricom's queue


class CallbackOutcome(models.TextChoices):
    NEW = "new"  # kept, not yet understood
    APPLIED = "applied"  # changed something
    DUPLICATE = "duplicate"  # told us what we knew
    REJECTED = "rejected"  # not a message of Safaricom's, or contradicts what we know
    UNMATCHED = "unmatched"  # money without an owner
    REVIEW = "review"  # a person must look


class Callback(models.Model):
    """The inbox: what Safaricom sent, byte for byte, before anything was made of it."""

    source = models.CharField(max_length=20, choices=CallbackSource)
    push = models.ForeignKey(StkPush, null=True, on_delete=models.PROTECT, related_name="callbacks")
    # Rare, and looked up by the check alone: no index for every other callback to keep.
    code_check = models.ForeignKey(
        "payments.CodeCheck", null=True, on_delete=models.PROTECT, related_name="callbacks", db_index=False
    )
    body = models.BinaryField()
    headers = models.JSONField(default=dict)
    peer = models.GenericIPAddressField(null=True)
    received_at = models.DateTimeField()
    # While it is new: from when on a worker may take it up.
    next_try_at = models.DateTimeField(db_default=Now())
    outcome = models.CharField(max_length=12, choices=CallbackOutcome, default=CallbackOutcome.NEW)
    processed_at = models.DateTimeField(null=True)
    error = models.CharField(max_length=255, blank=True)
    attempts = models.PositiveSmallIntegerField(default=0)

    class Meta:
        verbose_name = "message from Safaricom"
        verbose_name_plural = "messages from Safaricom"
        indexes = [
            models.Index(fields=["next_try_at"], condition=Q(outcome=CallbackOutcome.NEW), name="callback_waiting"),
        ]

    def __str__(self) -> str:
        return f"{self.get_source_display()}, {date_format(localtime(self.received_at), 'DATETIME_FORMAT')}"
