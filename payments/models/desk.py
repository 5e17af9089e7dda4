"""Money at the desk: cash sessions, receipt numbers, voids and refunds."""

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.utils.formats import date_format
from django.utils.timezone import localtime

from payments.models.ledger import Account
from payments.models.receipts import Receipt


class CashSession(models.Model):
    """One cashier's cash drawer from opening to counting. At most one open session per cashier."""

    cashier = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="cash_sessions")
    opened_at = models.DateTimeField()
    opening_float = models.PositiveIntegerField(default=0, help_text="Whole KES in the drawer at the start.")
    closed_at = models.DateTimeField(null=True)
    expected = models.IntegerField(
        null=True,
        help_text="Float plus live cash receipts, less cash refunds, whole KES; it may be below zero after a void.",
    )
    counted = models.PositiveIntegerField(null=True, help_text="The cash that was counted in the drawer, whole KES.")
    note = models.CharField(max_length=255, blank=True)

    class Meta:
        verbose_name = "cash drawer"
        constraints = [
            models.UniqueConstraint(
                fields=["cashier"], condition=Q(closed_at__isnull=True), name="cash_session_open_once_per_cashier"
            ),
            models.CheckConstraint(
                condition=Q(closed_at__isnull=True) | Q(expected__isnull=False, counted__isnull=False),
                name="cash_session_closed_is_counted",
            ),
        ]

    def __str__(self) -> str:
        return f"Drawer of {self.cashier}, {date_format(localtime(self.opened_at))}"

    @property
    def difference(self) -> int | None:
        """Return how much the counted cash is over (positive) or short (negative), in KES; None until it is counted."""
        return None if self.counted is None or self.expected is None else self.counted - self.expected


class VoidRequest(models.Model):
    """A request of one person to void a cash or bank receipt, which another person confirms or declines."""

    receipt = models.ForeignKey(Receipt, on_delete=models.PROTECT, related_name="void_requests")
    reason = models.CharField(max_length=200)
    asked_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    asked_at = models.DateTimeField()
    decided_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="+")
    decided_at = models.DateTimeField(null=True)
    is_confirmed = models.BooleanField(
        null=True, help_text="Whether the void was confirmed; empty until it is decided."
    )

    class Meta:
        verbose_name = "void"
        constraints = [
            models.UniqueConstraint(
                fields=["receipt"], condition=Q(decided_at__isnull=True), name="void_request_waits_once_per_receipt"
            ),
            models.CheckConstraint(
                condition=Q(decided_at__isnull=True, decided_by__isnull=True, is_confirmed__isnull=True)
                | Q(decided_at__isnull=False, decided_by__isnull=False, is_confirmed__isnull=False),
                name="void_request_is_decided_by_somebody",
            ),
            models.CheckConstraint(
                condition=~Q(is_confirmed=True) | ~Q(decided_by=F("asked_by")),
                name="void_request_is_confirmed_by_a_second_person",
            ),
        ]

    def __str__(self) -> str:
        return f"Void of {self.receipt}"


class ReceiptCounter(models.Model):
    """The last receipt number of a Nairobi year. The row is locked while the next number is assigned."""

    year = models.PositiveSmallIntegerField(primary_key=True)
    last = models.PositiveIntegerField(default=0)


class Refund(models.Model):
    """Money of a receipt that a person returned to its payer. Written once, by payments.desk.refunds only."""

    receipt = models.ForeignKey(Receipt, on_delete=models.PROTECT, related_name="refunds")
    amount = models.PositiveIntegerField(help_text="Whole Kenyan shillings.")
    paid_from = models.CharField(
        max_length=16,
        choices=[(each.value, each.label) for each in (Account.CASH, Account.BANK, Account.MPESA)],
        help_text="How the money was returned. M-Pesa: by hand, or as a reversal in Safaricom's portal.",
    )
    reason = models.CharField(max_length=255)
    cash_session = models.ForeignKey(
        "payments.CashSession", null=True, on_delete=models.PROTECT, related_name="refunds"
    )
    made_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    made_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(amount__gt=0), name="refund_is_of_money"),
            models.CheckConstraint(condition=~Q(reason=""), name="refund_has_a_reason"),
            models.CheckConstraint(
                condition=Q(paid_from=Account.CASH, cash_session__isnull=False)
                | (~Q(paid_from=Account.CASH) & Q(cash_session__isnull=True)),
                name="refund_of_cash_has_a_session",
            ),
        ]
        indexes = [models.Index(fields=["-made_at", "-id"], name="refund_newest_first")]

    def __str__(self) -> str:
        return f"KES {self.amount:,} of {self.receipt}"
