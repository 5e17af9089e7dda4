"""What is owed, what was asked of a phone, what Safaricom said, what money came, and the books.

All money is whole Kenyan shillings (KES) in integers. Only payments.services writes a status.
"""

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import F, Q

from payments.daraja.models import DarajaGate, DarajaToken  # noqa: F401 - Django looks for models here


class PaymentStatus(models.TextChoices):
    PENDING = "pending"  # nothing has been asked of a phone yet
    PROCESSING = "processing"  # a prompt is, or may be, on the payer's phone
    PARTIALLY_PAID = "partially_paid"  # some money came, less than is due
    PAID = "paid"  # receipts cover the amount due
    FAILED = "failed"  # the last prompt ended without money; it may be sent again
    EXPIRED = "expired"  # we stopped waiting; late money still pays it
    CANCELLED = "cancelled"  # withdrawn; late money becomes member credit
    REFUNDED = "refunded"  # the money went back


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


class Channel(models.TextChoices):
    MPESA_STK = "mpesa_stk"
    MPESA_C2B = "mpesa_c2b"
    CASH = "cash"
    BANK = "bank"
    COMP = "comp"
    CREDIT_NOTE = "credit_note"  # value given back by an upgrade; no money moved


class AllocationRule(models.TextChoices):
    PROMPT = "prompt"  # the push was for this payment
    REFERENCE = "reference"  # the payer typed the payment's reference
    EXACT = "exact"  # the amount is just what one open payment of the member needs
    OLDEST = "oldest"  # the member's oldest open payment
    CREDIT = "credit"  # money left over earlier, spent by itself
    BY_HAND = "by_hand"  # staff said so


class Account(models.TextChoices):
    """The ledger's accounts. A debit is positive, a credit negative."""

    MPESA = "mpesa"
    CASH = "cash"
    BANK = "bank"
    COMP = "comp"
    MEMBER_CREDIT = "member_credit"  # one per member
    UNMATCHED = "unmatched"
    SALES = "sales"
    REFUNDS = "refunds"  # given back of money that turned out never to have come
    OVER_SHORT = "over_short"  # what drawers were counted over or short


class Payment(models.Model):
    """One thing to be paid, by any number of receipts. Only payments.services writes status."""

    reference = models.CharField(
        max_length=12, unique=True, help_text="What the payer sees and may type; the last character proves it."
    )
    payer = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="payments")
    # A parent pays three children with one prompt: the head's reference and prompt cover the others.
    head = models.ForeignKey("self", null=True, blank=True, on_delete=models.PROTECT, related_name="companions")
    description = models.CharField(max_length=120)
    amount_due = models.PositiveIntegerField(help_text="Whole Kenyan shillings.")
    amount_paid = models.PositiveIntegerField(default=0, help_text="Sum of the live allocations.")
    deposit = models.PositiveIntegerField(help_text="Whole KES that must have come before what it buys is given.")
    deposit_paid_at = models.DateTimeField(null=True, blank=True, help_text="When the money moved that reached it.")
    status = models.CharField(max_length=16, choices=PaymentStatus, default=PaymentStatus.PENDING)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    paid_at = models.DateTimeField(null=True, blank=True, help_text="When the money moved that covered it.")
    idempotency_key = models.CharField(max_length=64, null=True, blank=True)
    body_fingerprint = models.CharField(max_length=64, blank=True, help_text="SHA-256 of the request's body.")

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
            models.UniqueConstraint(
                fields=["created_by", "idempotency_key"],
                condition=Q(idempotency_key__isnull=False),
                name="payment_idempotency_key_once_per_creator",
            ),
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
        """What is still to come, in KES."""
        return self.amount_due - self.amount_paid


class PaymentEvent(models.Model):
    """One change of a payment's status, written with it. A trigger refuses update and delete."""

    payment = models.ForeignKey(Payment, on_delete=models.PROTECT, related_name="events")
    from_status = models.CharField(max_length=16, choices=PaymentStatus, blank=True, help_text="Empty at birth.")
    to_status = models.CharField(max_length=16, choices=PaymentStatus)
    evidence = models.CharField(max_length=160, help_text="What caused it: `receipt 12`, `push 7 ended 1032`.")
    by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="+")
    at = models.DateTimeField()

    class Meta:
        indexes = [models.Index(fields=["payment", "id"], name="payment_event_in_order")]


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
    outcome = models.CharField(max_length=12, choices=CallbackOutcome, default=CallbackOutcome.NEW)
    processed_at = models.DateTimeField(null=True)
    error = models.CharField(max_length=255, blank=True)
    attempts = models.PositiveSmallIntegerField(default=0)

    class Meta:
        indexes = [
            models.Index(fields=["received_at"], condition=Q(outcome=CallbackOutcome.NEW), name="callback_waiting"),
        ]


class Receipt(models.Model):
    """Money that moved. One M-Pesa code is one receipt, whichever channels report it, in whatever order."""

    rest: int  # KES that no payment uses, where a query annotated it (allocation.with_rest)

    channel = models.CharField(max_length=12, choices=Channel)
    code = models.CharField(max_length=16, null=True, blank=True, unique=True, help_text="M-Pesa's, upper-cased.")
    push = models.OneToOneField(
        StkPush,
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="receipt",
        help_text="The prompt it answers; lets a success learnt by query wait for its code.",
    )
    push_guessed = models.BooleanField(
        default=False, help_text="Paired with the prompt by amount, account and time; the code has not proved it yet."
    )
    amount = models.PositiveIntegerField(help_text="Whole Kenyan shillings.")
    amount_refunded = models.PositiveIntegerField(default=0, db_default=0, help_text="Whole KES given back of it.")
    paid_at = models.DateTimeField(help_text="When the money moved, not when we learnt of it.")
    payer_name = models.CharField(max_length=120, blank=True)
    sender = models.CharField(max_length=80, blank=True, help_text="Masked or hashed, as it came.")
    account_typed = models.CharField(max_length=64, blank=True)
    member = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.PROTECT, related_name="receipts"
    )
    recorded_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )
    number = models.CharField(
        max_length=16, null=True, blank=True, unique=True, help_text="Of desk money: year and a number without gaps."
    )
    cash_session = models.ForeignKey(
        "payments.CashSession", null=True, blank=True, on_delete=models.PROTECT, related_name="receipts"
    )
    created_at = models.DateTimeField()
    reversed_at = models.DateTimeField(null=True, blank=True)
    reversed_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )
    reversal_reason = models.CharField(max_length=255, blank=True)
    idempotency_key = models.CharField(max_length=64, null=True, blank=True, help_text="Of desk money.")
    body_fingerprint = models.CharField(
        max_length=64, blank=True, default="", db_default="", help_text="SHA-256 of the request's body."
    )

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=~Q(channel__in=(Channel.CASH, Channel.BANK))
                | Q(number__isnull=False, recorded_by__isnull=False),
                name="receipt_of_the_desk_is_numbered",
            ),
            models.CheckConstraint(
                condition=~Q(channel=Channel.CASH) | Q(cash_session__isnull=False),
                name="receipt_of_cash_has_a_session",
            ),
            models.CheckConstraint(
                condition=~Q(channel__in=(Channel.CASH, Channel.BANK))
                | Q(reversed_at__isnull=True)
                | (Q(reversed_by__isnull=False) & ~Q(reversed_by=F("recorded_by"))),
                name="receipt_of_the_desk_is_voided_by_a_second_person",
            ),
            models.CheckConstraint(
                condition=Q(code__isnull=True) | Q(code__regex=r"^[0-9A-Z]{1,16}$"), name="receipt_code_is_canonical"
            ),
            models.CheckConstraint(condition=Q(amount__gt=0) | Q(channel=Channel.COMP), name="receipt_is_of_money"),
            models.CheckConstraint(
                condition=Q(amount_refunded__lte=F("amount")), name="receipt_gives_back_no_more_than_came"
            ),
            models.UniqueConstraint(
                fields=["recorded_by", "idempotency_key"],
                condition=Q(idempotency_key__isnull=False),
                name="receipt_idempotency_key_once_per_person",
            ),
        ]
        indexes = [
            models.Index(fields=["member", "-paid_at"], name="receipt_by_member"),
            models.Index(fields=["-paid_at", "-id"], name="receipt_newest_first"),
        ]

    @property
    def amount_held(self) -> int:
        """What of it is still here, in KES."""
        return 0 if self.reversed_at else self.amount - self.amount_refunded


class Refund(models.Model):
    """Money of a receipt that a person gave back. Written once; only payments.refunds writes it."""

    receipt = models.ForeignKey(Receipt, on_delete=models.PROTECT, related_name="refunds")
    amount = models.PositiveIntegerField(help_text="Whole Kenyan shillings.")
    paid_from = models.CharField(
        max_length=16,
        choices=[(each.value, each.label) for each in (Account.CASH, Account.BANK, Account.MPESA)],
        help_text="How it went back; M-Pesa by hand, or as a reversal in Safaricom's portal.",
    )
    reason = models.CharField(max_length=255)
    cash_session = models.ForeignKey(
        "payments.CashSession", null=True, on_delete=models.PROTECT, related_name="refunds"
    )
    made_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    made_at = models.DateTimeField()
    idempotency_key = models.CharField(max_length=64, null=True)
    body_fingerprint = models.CharField(max_length=64, blank=True, help_text="SHA-256 of the request's body.")

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(amount__gt=0), name="refund_is_of_money"),
            models.CheckConstraint(condition=~Q(reason=""), name="refund_has_a_reason"),
            models.CheckConstraint(
                condition=Q(paid_from=Account.CASH, cash_session__isnull=False)
                | (~Q(paid_from=Account.CASH) & Q(cash_session__isnull=True)),
                name="refund_of_cash_has_a_session",
            ),
            models.UniqueConstraint(
                fields=["made_by", "idempotency_key", "receipt"],
                condition=Q(idempotency_key__isnull=False),
                name="refund_idempotency_key_once_per_person",
            ),
        ]
        indexes = [models.Index(fields=["-made_at", "-id"], name="refund_newest_first")]


class CashSession(models.Model):
    """One cashier's drawer from opening to counting. At most one open session per cashier."""

    cashier = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="cash_sessions")
    opened_at = models.DateTimeField()
    opening_float = models.PositiveIntegerField(default=0, help_text="Whole KES in the drawer at the start.")
    closed_at = models.DateTimeField(null=True)
    expected = models.PositiveIntegerField(
        null=True, help_text="Float, live cash receipts, less cash refunds, whole KES."
    )
    counted = models.PositiveIntegerField(null=True, help_text="What was in the drawer, whole KES.")
    note = models.CharField(max_length=255, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["cashier"], condition=Q(closed_at__isnull=True), name="cash_session_open_once_per_cashier"
            ),
            models.CheckConstraint(
                condition=Q(closed_at__isnull=True) | Q(expected__isnull=False, counted__isnull=False),
                name="cash_session_closed_is_counted",
            ),
        ]

    @property
    def difference(self) -> int | None:
        """Over (positive) or short (negative) in KES; None while the session is open."""
        return None if self.closed_at is None else self.counted - self.expected


class VoidRequest(models.Model):
    """A void of a cash or bank receipt that one person asked for, and another confirms or declines."""

    receipt = models.ForeignKey(Receipt, on_delete=models.PROTECT, related_name="void_requests")
    reason = models.CharField(max_length=200)
    asked_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    asked_at = models.DateTimeField()
    decided_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="+")
    decided_at = models.DateTimeField(null=True)
    is_confirmed = models.BooleanField(null=True, help_text="Whether the receipt was voided; empty while it waits.")

    class Meta:
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


class ReceiptCounter(models.Model):
    """The last number given to a desk receipt of a Nairobi year; locked while the next one is given."""

    year = models.PositiveSmallIntegerField(primary_key=True)
    last = models.PositiveIntegerField(default=0)


class CodeClaim(models.Model):
    """An M-Pesa code that a payer showed at the desk: a claim, and no money, until Safaricom's evidence has it."""

    code = models.CharField(max_length=16, unique=True, help_text="Upper-cased; a code is claimed once.")
    payment = models.ForeignKey(Payment, on_delete=models.PROTECT, related_name="code_claims")
    claimed_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    claimed_at = models.DateTimeField()
    receipt = models.OneToOneField(
        Receipt, null=True, on_delete=models.PROTECT, related_name="claim", help_text="Safaricom's evidence for it."
    )
    ended_at = models.DateTimeField(null=True, help_text="When it turned out to be no money of ours.")
    ended_why = models.CharField(max_length=160, blank=True, help_text="One plain sentence for staff.")

    class Meta:
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


class CodeCheckStatus(models.TextChoices):
    WAITING = "waiting"  # for the worker to ask
    ASKED = "asked"  # Safaricom has the question, or may have it
    FOUND = "found"  # completed money of ours; it stands in the books
    NO_MONEY = "no_money"  # no completed money of ours
    UNCLEAR = "unclear"  # no answer, or one that decides nothing; it may be asked again


OPEN_CHECK = (CodeCheckStatus.WAITING, CodeCheckStatus.ASKED)


class CodeCheck(models.Model):
    """One question to Safaricom about an M-Pesa code (Transaction Status). Only payments.code_checks writes it."""

    code = models.CharField(max_length=16, help_text="Upper-cased.")
    status = models.CharField(max_length=12, choices=CodeCheckStatus, default=CodeCheckStatus.WAITING)
    asked_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="+", help_text="Empty: a job."
    )
    created_at = models.DateTimeField()
    # Drawn when the worker asks; it stands in the paths of the two answers and nowhere else.
    token_hash = models.CharField(max_length=64, null=True, unique=True, help_text="SHA-256, hexadecimal.")
    conversation_id = models.CharField(max_length=64, blank=True, help_text="Safaricom's name for the question.")
    result_code = models.CharField(max_length=32, blank=True)
    said = models.CharField(max_length=160, blank=True, help_text="What came of it, one plain sentence for staff.")
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


class Allocation(models.Model):
    """Money of one receipt given to one payment. Undone allocations stay, with the moment they ended."""

    receipt = models.ForeignKey(Receipt, on_delete=models.PROTECT, related_name="allocations")
    payment = models.ForeignKey(Payment, on_delete=models.PROTECT, related_name="allocations")
    amount = models.PositiveIntegerField(help_text="Whole Kenyan shillings.")
    rule = models.CharField(max_length=12, choices=AllocationRule)
    made_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="+")
    created_at = models.DateTimeField()
    undone_at = models.DateTimeField(null=True)
    undone_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="+")

    class Meta:
        constraints = [models.CheckConstraint(condition=Q(amount__gt=0), name="allocation_is_of_money")]


class LedgerEntry(models.Model):
    """One leg of a double entry. Triggers refuse update and delete, and a transaction that is not zero."""

    transaction = models.UUIDField(help_text="The legs of one posting share it.")
    account = models.CharField(max_length=16, choices=Account)
    member = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="ledger_entries"
    )
    amount = models.BigIntegerField(help_text="Whole Kenyan shillings; debit positive, credit negative.")
    receipt = models.ForeignKey(Receipt, null=True, on_delete=models.PROTECT, related_name="ledger_entries")
    cash_session = models.ForeignKey(
        CashSession,
        null=True,
        on_delete=models.PROTECT,
        related_name="ledger_entries",
        db_index=False,
        help_text="Of what a drawer was over or short; every other entry is of a receipt.",
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


class ReviewReason(models.TextChoices):
    UNMATCHED = "unmatched"  # money without an owner
    AMOUNT_DIFFERS = "amount_differs"  # evidence and push disagree on amount, shortcode or ids
    CODE_USED_TWICE = "code_used_twice"  # one M-Pesa code for two different things
    CONTRADICTION = "contradiction"  # failure after success, or the like
    OVERDUE_UNKNOWN = "overdue_unknown"  # a push nobody could tell us the end of
    LATE_MONEY = "late_money"  # money for a cancelled or refunded payment
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
