"""The callback inbox: each message from Safaricom, stored before it is parsed."""

from django.db import models
from django.db.models import Func, Q
from django.db.models.functions import Now
from django.utils.formats import date_format
from django.utils.timezone import localtime

from payments.models.pushes import StkPush


class CallbackSource(models.TextChoices):
    STK = "stk"
    C2B_CONFIRMATION = "c2b_confirmation"
    C2B_VALIDATION = "c2b_validation"
    CODE_CHECK = "code_check"  # the result of a Transaction Status query
    CODE_CHECK_TIMEOUT = "code_check_timeout"  # the query expired in Safaricom's queue


class CallbackOutcome(models.TextChoices):
    NEW = "new"  # stored, not yet applied
    APPLIED = "applied"  # changed something
    DUPLICATE = "duplicate"  # reported what was known
    REJECTED = "rejected"  # not a message that Safaricom sends
    UNMATCHED = "unmatched"  # money without an owner
    REVIEW = "review"  # staff must decide


class Callback(models.Model):
    """A message from Safaricom, stored byte for byte before it is parsed, and its outcome."""

    source = models.CharField(max_length=20, choices=CallbackSource)
    push = models.ForeignKey(StkPush, null=True, on_delete=models.PROTECT, related_name="callbacks")
    # Rarely set: its index leaves out the others, which so need not maintain it.
    code_check = models.ForeignKey(
        "payments.CodeCheck", null=True, on_delete=models.PROTECT, related_name="callbacks", db_index=False
    )
    body = models.BinaryField()
    headers = models.JSONField(default=dict)
    peer = models.GenericIPAddressField(null=True)
    received_at = models.DateTimeField()
    # For a new callback: when a worker may first apply it.
    next_try_at = models.DateTimeField(db_default=Now())
    outcome = models.CharField(max_length=12, choices=CallbackOutcome, default=CallbackOutcome.NEW)
    processed_at = models.DateTimeField(null=True)
    error = models.CharField(max_length=255, blank=True)
    attempts = models.PositiveSmallIntegerField(default=0)
    not_stored = models.PositiveIntegerField(
        db_default=0, help_text="How many further messages to the same URL were counted and not stored."
    )
    limit_key = models.CharField(
        max_length=64,
        null=True,
        help_text="The URL (and hour) whose limit it counts for, when no push or check has it.",
    )

    class Meta:
        verbose_name = "callback from Safaricom"
        verbose_name_plural = "callbacks from Safaricom"
        indexes = [
            models.Index(fields=["next_try_at"], condition=Q(outcome=CallbackOutcome.NEW), name="callback_waiting"),
            models.Index(fields=["code_check"], condition=Q(code_check__isnull=False), name="callback_by_code_check"),
            models.Index(fields=["limit_key"], condition=Q(limit_key__isnull=False), name="callback_by_limit_key"),
            # A confirmation that is sent again is found by its bytes.
            models.Index(
                Func("body", function="sha256"),
                condition=Q(source=CallbackSource.C2B_CONFIRMATION),
                name="callback_confirmation_body",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.get_source_display()}, {date_format(localtime(self.received_at), 'DATETIME_FORMAT')}"
