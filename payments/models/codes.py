"""M-Pesa codes that payers report at the desk, and the checks of codes with Safaricom."""

from django.conf import settings
from django.db import models
from django.db.models import Q

from payments.models.payments import Payment
from payments.models.receipts import Receipt


class CodeClaim(models.Model):
    """An M-Pesa code that a payer reported at the desk. It is no money until evidence from Safaricom has the code."""

    code = models.CharField(max_length=16, unique=True, help_text="Upper-cased; each code is reported once.")
    payment = models.ForeignKey(Payment, on_delete=models.PROTECT, related_name="code_claims")
    claimed_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    claimed_at = models.DateTimeField()
    receipt = models.OneToOneField(
        Receipt,
        null=True,
        on_delete=models.PROTECT,
        related_name="claim",
        help_text="The receipt that Safaricom's evidence made for the code.",
    )
    ended_at = models.DateTimeField(null=True, help_text="When the code turned out not to be money for us.")
    ended_why = models.CharField(max_length=160, blank=True, help_text="One plain sentence for staff.")

    class Meta:
        verbose_name = "reported code"
        constraints = [
            models.CheckConstraint(condition=Q(code__regex=r"^[0-9A-Z]{1,16}$"), name="claim_code_is_canonical"),
            models.CheckConstraint(
                condition=Q(receipt__isnull=True) | Q(ended_at__isnull=True), name="claim_with_money_has_not_ended"
            ),
        ]
        indexes = [
            models.Index(
                fields=["claimed_at"],
                condition=Q(receipt__isnull=True, ended_at__isnull=True),
                name="claim_waiting",
            ),
        ]

    def __str__(self) -> str:
        return self.code


class CodeCheckStatus(models.TextChoices):
    WAITING = "waiting"  # to be sent by a worker
    ASKED = "asked"  # Safaricom has the query, or may have it
    FOUND = "found"  # a completed payment to us; it is in the books
    NO_MONEY = "no_money"  # no completed payment to us
    UNCLEAR = "unclear"  # no answer, or an unclear one; the code may be checked again


OPEN_CHECK = (CodeCheckStatus.WAITING, CodeCheckStatus.ASKED)


class CodeCheck(models.Model):
    """One Transaction Status query to Safaricom about an M-Pesa code. Only payments.desk.code_checks writes it."""

    code = models.CharField(max_length=16, help_text="Upper-cased.")
    status = models.CharField(max_length=12, choices=CodeCheckStatus, default=CodeCheckStatus.WAITING)
    asked_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        null=True,
        on_delete=models.PROTECT,
        related_name="+",
        help_text="Empty: a background job.",
    )
    created_at = models.DateTimeField()
    # The worker draws the token when it asks. The token itself is only in the paths of the two result URLs.
    token_hash = models.CharField(max_length=64, null=True, unique=True, help_text="SHA-256, hexadecimal.")
    conversation_id = models.CharField(max_length=64, blank=True, help_text="Safaricom's ID of the query.")
    result_code = models.CharField(max_length=32, blank=True)
    said = models.CharField(max_length=160, blank=True, help_text="The result, one plain sentence for staff.")
    receipt = models.ForeignKey(Receipt, null=True, on_delete=models.PROTECT, related_name="code_checks")
    ended_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(code__regex=r"^[0-9A-Z]{1,16}$"), name="code_check_code_is_canonical"),
            models.UniqueConstraint(
                fields=["code"], condition=Q(status__in=OPEN_CHECK), name="code_check_open_once_per_code"
            ),
            models.CheckConstraint(
                condition=Q(status__in=OPEN_CHECK, ended_at__isnull=True)
                | (~Q(status__in=OPEN_CHECK) & Q(ended_at__isnull=False)),
                name="code_check_end_has_a_moment",
            ),
            models.CheckConstraint(
                condition=~Q(status=CodeCheckStatus.FOUND) | Q(receipt__isnull=False),
                name="code_check_found_has_its_receipt",
            ),
        ]
        indexes = [
            models.Index(fields=["-created_at", "-id"], name="code_check_newest_first"),
            models.Index(fields=["code"], name="code_check_by_code"),
            models.Index(fields=["created_at"], condition=Q(status__in=OPEN_CHECK), name="code_check_open"),
        ]

    def __str__(self) -> str:
        return self.code
