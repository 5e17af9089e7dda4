"""The ledger: double-entry books of all money."""

from django.conf import settings
from django.db import models
from django.db.models import Q

from payments.models.payments import Payment
from payments.models.receipts import Receipt


class Account(models.TextChoices):
    """The ledger's accounts. A debit is positive, a credit negative."""

    MPESA = "mpesa"
    CASH = "cash"
    BANK = "bank"
    MEMBER_CREDIT = "member_credit"  # one per member
    UNMATCHED = "unmatched"
    SALES = "sales"
    REFUNDS = "refunds"  # refunds of receipts that were reversed later
    OPENING = "opening"  # credit that members had before this system: money that the club's earlier books received
    OVER_SHORT = "over_short"  # differences that were counted in cash drawers


class LedgerEntry(models.Model):
    """One leg of a posting. Triggers refuse update and delete, and a posting whose legs do not sum to zero."""

    transaction = models.UUIDField(help_text="The legs of one posting share it.")
    account = models.CharField(max_length=16, choices=Account)
    member = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="ledger_entries"
    )
    amount = models.BigIntegerField(help_text="Whole Kenyan shillings; debit positive, credit negative.")
    receipt = models.ForeignKey(Receipt, null=True, on_delete=models.PROTECT, related_name="ledger_entries")
    cash_session = models.ForeignKey(
        "payments.CashSession",
        null=True,
        on_delete=models.PROTECT,
        related_name="ledger_entries",
        db_index=False,
        help_text="Set on entries for a drawer's difference; every other entry has a receipt.",
    )
    payment = models.ForeignKey(Payment, null=True, on_delete=models.PROTECT, related_name="ledger_entries")
    made_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="+")
    at = models.DateTimeField()

    class Meta:
        verbose_name_plural = "ledger entries"
        constraints = [
            models.CheckConstraint(condition=~Q(amount=0), name="ledger_entry_moves_money"),
            models.CheckConstraint(
                condition=Q(account=Account.MEMBER_CREDIT, member__isnull=False)
                | (~Q(account=Account.MEMBER_CREDIT) & Q(member__isnull=True)),
                name="ledger_member_stands_on_member_credit_only",
            ),
            models.CheckConstraint(
                condition=Q(receipt__isnull=False, cash_session__isnull=True)
                | Q(receipt__isnull=True, cash_session__isnull=False),
                name="ledger_entry_is_of_a_receipt_or_a_drawer",
            ),
        ]
        indexes = [
            models.Index(fields=["transaction"], name="ledger_by_transaction"),
            models.Index(fields=["member"], condition=Q(member__isnull=False), name="ledger_by_member"),
            models.Index(fields=["account", "at"], name="ledger_by_account"),
            models.Index(
                fields=["cash_session"], condition=Q(cash_session__isnull=False), name="ledger_by_cash_session"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.get_account_display()}: KES {self.amount:,}"
