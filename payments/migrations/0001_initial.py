"""Tables of money: what is due, what came, what it paid, what was given back, and what Safaricom sent."""

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import migrations, models
from django.db.models import F, Q
from django.db.models.functions import Now

PAYMENT_STATUSES = [
    ("pending", "Pending"),
    ("processing", "Processing"),
    ("partially_paid", "Partially Paid"),
    ("paid", "Paid"),
    ("failed", "Failed"),
    ("expired", "Expired"),
    ("cancelled", "Cancelled"),
    ("refunded", "Refunded"),
]


class Migration(migrations.Migration):
    initial = True

    dependencies = [migrations.swappable_dependency(settings.AUTH_USER_MODEL)]

    operations = [
        # An amount due, its status and how much of it has come.
        migrations.CreateModel(
            name="Payment",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("reference", models.CharField(help_text="The account number that the payer sees and types; its last character is a check character.", max_length=12, unique=True)),
                ("description", models.CharField(max_length=120)),
                ("amount_due", models.PositiveIntegerField(help_text="Whole Kenyan shillings.")),
                ("amount_paid", models.PositiveIntegerField(default=0, help_text="Sum of the live allocations.")),
                ("status", models.CharField(choices=PAYMENT_STATUSES, default="pending", max_length=16)),
                ("created_at", models.DateTimeField()),
                ("expires_at", models.DateTimeField()),
                ("paid_at", models.DateTimeField(blank=True, help_text="When the money moved that reached the amount due.", null=True)),
                ("idempotency_key", models.CharField(blank=True, max_length=64, null=True)),
                ("body_fingerprint", models.CharField(blank=True, help_text="SHA-256 of the request's body.", max_length=64)),
                ("created_by", models.ForeignKey(on_delete=models.PROTECT, related_name="+", to=settings.AUTH_USER_MODEL)),
                ("head", models.ForeignKey(blank=True, null=True, on_delete=models.PROTECT, related_name="grouped_payments", to="payments.payment")),
                ("payer", models.ForeignKey(on_delete=models.PROTECT, related_name="payments", to=settings.AUTH_USER_MODEL)),
                ("deposit", models.PositiveIntegerField(help_text="The minimum payment, whole KES: when it is reached, the purchase starts.")),
                ("deposit_paid_at", models.DateTimeField(blank=True, help_text="When the money moved that reached the minimum payment.", null=True)),
            ],
            options={
                "indexes": [
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
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=~Q(status="paid") | Q(paid_at__isnull=False), name="payment_paid_has_a_moment"
                    ),
                    models.CheckConstraint(
                        condition=Q(amount_paid__lte=F("amount_due")), name="payment_never_holds_more_than_due"
                    ),
                    models.CheckConstraint(
                        condition=~Q(status="paid") | Q(amount_paid=F("amount_due")), name="payment_paid_is_covered"
                    ),
                    models.CheckConstraint(
                        condition=~Q(status="partially_paid") | Q(amount_paid__gt=0, amount_paid__lt=F("amount_due")),
                        name="payment_partially_paid_lacks_some",
                    ),
                    models.CheckConstraint(condition=~Q(head=F("id")), name="payment_is_not_its_own_head"),
                    models.UniqueConstraint(
                        fields=("created_by", "idempotency_key"),
                        condition=Q(idempotency_key__isnull=False),
                        name="payment_idempotency_key_once_per_creator",
                    ),
                    models.CheckConstraint(
                        condition=Q(deposit__lte=F("amount_due")), name="payment_deposit_is_part_of_it"
                    ),
                    models.CheckConstraint(
                        condition=Q(deposit_paid_at__isnull=True, status__in=["cancelled", "refunded"])
                        | Q(amount_paid__lt=F("deposit"), deposit_paid_at__isnull=True)
                        | Q(amount_paid__gte=F("deposit"), deposit_paid_at__isnull=False),
                        name="payment_deposit_has_come_or_not",
                    ),
                ],
            },
        ),
        # One change of a payment's status.
        migrations.CreateModel(
            name="PaymentEvent",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("from_status", models.CharField(blank=True, choices=[("pending", "Pending"), ("processing", "Processing"), ("partially_paid", "Partially Paid"), ("paid", "Paid"), ("failed", "Failed"), ("expired", "Expired"), ("cancelled", "Cancelled"), ("refunded", "Refunded")], help_text="Empty for a new payment.", max_length=16)),
                ("to_status", models.CharField(choices=PAYMENT_STATUSES, max_length=16)),
                ("evidence", models.CharField(help_text="The cause, such as `receipt 12` or `push 7 ended 1032`.", max_length=160)),
                ("at", models.DateTimeField()),
                ("by", models.ForeignKey(null=True, on_delete=models.PROTECT, related_name="+", to=settings.AUTH_USER_MODEL)),
                ("payment", models.ForeignKey(on_delete=models.PROTECT, related_name="events", to="payments.payment")),
            ],
            options={
                "indexes": [
                    models.Index(fields=["payment", "id"], name="payment_event_in_order"),
                ],
            },
        ),
        # One STK push for a payment.
        migrations.CreateModel(
            name="StkPush",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("phone", models.CharField(help_text="The phone that gets the push; any phone may pay for anyone.", max_length=12)),
                ("amount", models.PositiveIntegerField(help_text="Whole Kenyan shillings.")),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("created", "Created"),
                            ("sending", "Sending"),
                            ("sent", "Sent"),
                            ("unknown", "Unknown"),
                            ("succeeded", "Succeeded"),
                            ("failed", "Failed"),
                            ("cancelled", "Cancelled"),
                            ("timed_out", "Timed Out"),
                        ],
                        default="created",
                        max_length=16,
                    ),
                ),
                ("token_hash", models.CharField(help_text="SHA-256, hexadecimal.", max_length=64, null=True, unique=True)),
                ("merchant_request_id", models.CharField(blank=True, max_length=64)),
                ("checkout_request_id", models.CharField(max_length=64, null=True, unique=True)),
                ("result_code", models.CharField(blank=True, max_length=32)),
                ("result_desc", models.CharField(blank=True, max_length=255)),
                ("created_at", models.DateTimeField()),
                ("sent_at", models.DateTimeField(null=True)),
                ("ended_at", models.DateTimeField(null=True)),
                ("next_check_at", models.DateTimeField(help_text="When to query Safaricom about it next; empty: never again.", null=True)),
                ("checks", models.PositiveSmallIntegerField(default=0)),
                ("created_by", models.ForeignKey(null=True, on_delete=models.PROTECT, related_name="+", to=settings.AUTH_USER_MODEL)),
                ("payment", models.ForeignKey(on_delete=models.PROTECT, related_name="pushes", to="payments.payment")),
            ],
            options={
                "verbose_name": "STK push",
                "verbose_name_plural": "STK pushes",
                "indexes": [
                    models.Index(
                        fields=["next_check_at"], condition=Q(next_check_at__isnull=False), name="push_by_next_check"
                    ),
                    models.Index(fields=["phone", "-created_at"], name="push_by_phone"),
                    models.Index(
                        fields=["created_at"], condition=Q(status__in=("created", "sending")), name="push_not_yet_sent"
                    ),
                ],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("payment",),
                        condition=Q(status__in=("created", "sending", "sent", "unknown")),
                        name="push_open_once_per_payment",
                    ),
                    models.UniqueConstraint(
                        fields=("phone",),
                        condition=Q(status__in=("created", "sending", "sent", "unknown")),
                        name="push_open_once_per_phone",
                    ),
                    models.CheckConstraint(condition=Q(amount__gt=0), name="push_asks_for_money"),
                    models.CheckConstraint(
                        condition=Q(status="created") | Q(token_hash__isnull=False) | Q(sent_at__isnull=True),
                        name="push_sent_has_a_token",
                    ),
                ],
            },
        ),
        # One cashier's cash drawer, from opening to counting.
        migrations.CreateModel(
            name="CashSession",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("opened_at", models.DateTimeField()),
                ("opening_float", models.PositiveIntegerField(default=0, help_text="Whole KES in the drawer at the start.")),
                ("closed_at", models.DateTimeField(null=True)),
                ("expected", models.IntegerField(help_text="Float plus live cash receipts, less cash refunds, whole KES; it may be below zero after a void.", null=True)),
                ("counted", models.PositiveIntegerField(help_text="The cash that was counted in the drawer, whole KES.", null=True)),
                ("note", models.CharField(blank=True, max_length=255)),
                ("cashier", models.ForeignKey(on_delete=models.PROTECT, related_name="cash_sessions", to=settings.AUTH_USER_MODEL)),
            ],
            options={
                "verbose_name": "cash drawer",
                "constraints": [
                    models.UniqueConstraint(
                        fields=("cashier",),
                        condition=Q(closed_at__isnull=True),
                        name="cash_session_open_once_per_cashier",
                    ),
                    models.CheckConstraint(
                        condition=Q(closed_at__isnull=True) | Q(counted__isnull=False, expected__isnull=False),
                        name="cash_session_closed_is_counted",
                    ),
                ],
            },
        ),
        # Money that came: one row for each M-Pesa code, cash payment or bank transfer.
        migrations.CreateModel(
            name="Receipt",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("channel", models.CharField(choices=[("mpesa_stk", "M-Pesa STK push"), ("mpesa_c2b", "M-Pesa paybill"), ("cash", "Cash"), ("bank", "Bank")], max_length=12)),
                ("code", models.CharField(blank=True, help_text="The M-Pesa code, upper-cased.", max_length=16, null=True, unique=True)),
                ("amount", models.PositiveIntegerField(help_text="Whole Kenyan shillings.")),
                ("paid_at", models.DateTimeField(help_text="When the money moved, not when it was reported.")),
                ("payer_name", models.CharField(blank=True, max_length=120)),
                ("sender", models.CharField(blank=True, help_text="The sender's phone as Safaricom reported it: whole, masked or hashed.", max_length=80)),
                ("account_typed", models.CharField(blank=True, max_length=64)),
                ("created_at", models.DateTimeField()),
                ("reversed_at", models.DateTimeField(blank=True, null=True)),
                ("member", models.ForeignKey(blank=True, null=True, on_delete=models.PROTECT, related_name="receipts", to=settings.AUTH_USER_MODEL)),
                ("recorded_by", models.ForeignKey(blank=True, null=True, on_delete=models.PROTECT, related_name="+", to=settings.AUTH_USER_MODEL)),
                (
                    "push",
                    models.OneToOneField(blank=True, help_text="The STK push that it pays. It identifies the receipt of a queried success until its code is known.", null=True, on_delete=models.PROTECT, related_name="receipt", to="payments.stkpush"),
                ),
                ("push_guessed", models.BooleanField(default=False, help_text="Paired with the push by amount, account and time, and not yet proved by the code.")),
                ("number", models.CharField(blank=True, help_text="Of cash and bank receipts: the year and a number without gaps.", max_length=16, null=True, unique=True)),
                ("reversal_reason", models.CharField(blank=True, max_length=255)),
                ("reversed_by", models.ForeignKey(blank=True, null=True, on_delete=models.PROTECT, related_name="+", to=settings.AUTH_USER_MODEL)),
                ("cash_session", models.ForeignKey(blank=True, null=True, on_delete=models.PROTECT, related_name="receipts", to="payments.cashsession")),
                ("amount_refunded", models.PositiveIntegerField(db_default=0, default=0, help_text="Whole KES that were refunded.")),
                ("body_fingerprint", models.CharField(blank=True, db_default="", default="", help_text="SHA-256 of the request's body.", max_length=64)),
                ("idempotency_key", models.CharField(blank=True, help_text="Of cash and bank receipts.", max_length=64, null=True)),
            ],
            options={
                "indexes": [
                    models.Index(fields=["member", "-paid_at"], name="receipt_by_member"),
                    models.Index(fields=["-paid_at", "-id"], name="receipt_newest_first"),
                    models.Index(
                        fields=["paid_at"],
                        condition=Q(reversed_at__isnull=True),
                        include=("channel", "amount", "amount_refunded"),
                        name="receipt_live_sums",
                    ),
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=Q(code__isnull=True) | Q(code__regex="^[0-9A-Z]{1,16}$"),
                        name="receipt_code_is_canonical",
                    ),
                    models.CheckConstraint(
                        condition=~Q(channel__in=("cash", "bank"))
                        | Q(number__isnull=False, recorded_by__isnull=False),
                        name="receipt_of_the_desk_is_numbered",
                    ),
                    models.CheckConstraint(
                        condition=~Q(channel="cash") | Q(cash_session__isnull=False),
                        name="receipt_of_cash_has_a_session",
                    ),
                    models.CheckConstraint(
                        condition=~Q(channel__in=("cash", "bank"))
                        | Q(reversed_at__isnull=True)
                        | Q(reversed_by__isnull=False) & ~Q(reversed_by=F("recorded_by")),
                        name="receipt_of_the_desk_is_voided_by_a_second_person",
                    ),
                    models.CheckConstraint(
                        condition=Q(amount_refunded__lte=F("amount")), name="receipt_gives_back_no_more_than_came"
                    ),
                    models.UniqueConstraint(
                        fields=("recorded_by", "idempotency_key"),
                        condition=Q(idempotency_key__isnull=False),
                        name="receipt_idempotency_key_once_per_person",
                    ),
                    models.CheckConstraint(condition=Q(amount__gt=0), name="receipt_is_of_money"),
                ],
            },
        ),
        # The last number that a desk receipt of the year was given.
        migrations.CreateModel(
            name="ReceiptCounter",
            fields=[
                ("year", models.PositiveSmallIntegerField(primary_key=True, serialize=False)),
                ("last", models.PositiveIntegerField(default=0)),
            ],
        ),
        # Money of one receipt that pays one payment.
        migrations.CreateModel(
            name="Allocation",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("amount", models.PositiveIntegerField(help_text="Whole Kenyan shillings.")),
                (
                    "rule",
                    models.CharField(choices=[("prompt", "Push"), ("reference", "Reference"), ("exact", "Exact"), ("oldest", "Oldest"), ("credit", "Credit"), ("by_hand", "By Hand")], max_length=12),
                ),
                ("created_at", models.DateTimeField()),
                ("undone_at", models.DateTimeField(null=True)),
                ("made_by", models.ForeignKey(null=True, on_delete=models.PROTECT, related_name="+", to=settings.AUTH_USER_MODEL)),
                ("undone_by", models.ForeignKey(null=True, on_delete=models.PROTECT, related_name="+", to=settings.AUTH_USER_MODEL)),
                ("payment", models.ForeignKey(on_delete=models.PROTECT, related_name="allocations", to="payments.payment")),
                ("receipt", models.ForeignKey(on_delete=models.PROTECT, related_name="allocations", to="payments.receipt")),
            ],
            options={
                "constraints": [
                    models.CheckConstraint(condition=Q(amount__gt=0), name="allocation_is_of_money"),
                ],
            },
        ),
        # Money of a receipt that a person gave back.
        migrations.CreateModel(
            name="Refund",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("amount", models.PositiveIntegerField(help_text="Whole Kenyan shillings.")),
                (
                    "paid_from",
                    models.CharField(choices=[("cash", "Cash"), ("bank", "Bank"), ("mpesa", "Mpesa")], help_text="How the money was returned. M-Pesa: by hand, or as a reversal in Safaricom's portal.", max_length=16),
                ),
                ("reason", models.CharField(max_length=255)),
                ("made_at", models.DateTimeField()),
                ("idempotency_key", models.CharField(max_length=64, null=True)),
                ("body_fingerprint", models.CharField(blank=True, help_text="SHA-256 of the request's body.", max_length=64)),
                ("cash_session", models.ForeignKey(null=True, on_delete=models.PROTECT, related_name="refunds", to="payments.cashsession")),
                ("made_by", models.ForeignKey(on_delete=models.PROTECT, related_name="+", to=settings.AUTH_USER_MODEL)),
                ("receipt", models.ForeignKey(on_delete=models.PROTECT, related_name="refunds", to="payments.receipt")),
            ],
            options={
                "indexes": [
                    models.Index(fields=["-made_at", "-id"], name="refund_newest_first"),
                ],
                "constraints": [
                    models.CheckConstraint(condition=Q(amount__gt=0), name="refund_is_of_money"),
                    models.CheckConstraint(condition=~Q(reason=""), name="refund_has_a_reason"),
                    models.CheckConstraint(
                        condition=Q(cash_session__isnull=False, paid_from="cash")
                        | ~Q(paid_from="cash") & Q(cash_session__isnull=True),
                        name="refund_of_cash_has_a_session",
                    ),
                    models.UniqueConstraint(
                        fields=("made_by", "idempotency_key", "receipt"),
                        condition=Q(idempotency_key__isnull=False),
                        name="refund_idempotency_key_once_per_person",
                    ),
                ],
            },
        ),
        # A void that one person asked for and another one confirms or declines.
        migrations.CreateModel(
            name="VoidRequest",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("reason", models.CharField(max_length=200)),
                ("asked_at", models.DateTimeField()),
                ("decided_at", models.DateTimeField(null=True)),
                ("is_confirmed", models.BooleanField(help_text="Whether the void was confirmed; empty until it is decided.", null=True)),
                ("asked_by", models.ForeignKey(on_delete=models.PROTECT, related_name="+", to=settings.AUTH_USER_MODEL)),
                ("decided_by", models.ForeignKey(null=True, on_delete=models.PROTECT, related_name="+", to=settings.AUTH_USER_MODEL)),
                ("receipt", models.ForeignKey(on_delete=models.PROTECT, related_name="void_requests", to="payments.receipt")),
            ],
            options={
                "verbose_name": "void",
                "constraints": [
                    models.UniqueConstraint(
                        fields=("receipt",),
                        condition=Q(decided_at__isnull=True),
                        name="void_request_waits_once_per_receipt",
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
                ],
            },
        ),
        # The control number that a tax device gave a receipt.
        migrations.CreateModel(
            name="TaxNumber",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("number", models.CharField(max_length=40)),
                ("noted_at", models.DateTimeField()),
                ("noted_by", models.ForeignKey(on_delete=models.PROTECT, related_name="+", to=settings.AUTH_USER_MODEL)),
                ("receipt", models.ForeignKey(on_delete=models.PROTECT, related_name="tax_numbers", to="payments.receipt")),
            ],
            options={
                "constraints": [
                    models.CheckConstraint(
                        condition=Q(number__regex="^[0-9A-Z][0-9A-Z/.-]{3,39}$"), name="tax_number_is_canonical"
                    ),
                ],
            },
        ),
        # One leg of a double entry, of a receipt or of a cash drawer's difference.
        migrations.CreateModel(
            name="LedgerEntry",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("transaction", models.UUIDField(help_text="The legs of one posting share it.")),
                (
                    "account",
                    models.CharField(
                        choices=[
                            ("mpesa", "Mpesa"),
                            ("cash", "Cash"),
                            ("bank", "Bank"),
                            ("member_credit", "Member Credit"),
                            ("unmatched", "Unmatched"),
                            ("sales", "Sales"),
                            ("refunds", "Refunds"),
                            ("over_short", "Over Short"),
                        ],
                        max_length=16,
                    ),
                ),
                ("amount", models.BigIntegerField(help_text="Whole Kenyan shillings; debit positive, credit negative.")),
                ("at", models.DateTimeField()),
                ("made_by", models.ForeignKey(null=True, on_delete=models.PROTECT, related_name="+", to=settings.AUTH_USER_MODEL)),
                ("member", models.ForeignKey(null=True, on_delete=models.PROTECT, related_name="ledger_entries", to=settings.AUTH_USER_MODEL)),
                ("payment", models.ForeignKey(null=True, on_delete=models.PROTECT, related_name="ledger_entries", to="payments.payment")),
                ("receipt", models.ForeignKey(null=True, on_delete=models.PROTECT, related_name="ledger_entries", to="payments.receipt")),
                (
                    "cash_session",
                    models.ForeignKey(db_index=False, help_text="Set on entries for a drawer's difference; every other entry has a receipt.", null=True, on_delete=models.PROTECT, related_name="ledger_entries", to="payments.cashsession"),
                ),
            ],
            options={
                "verbose_name_plural": "ledger entries",
                "indexes": [
                    models.Index(fields=["transaction"], name="ledger_by_transaction"),
                    models.Index(fields=["member"], condition=Q(member__isnull=False), name="ledger_by_member"),
                    models.Index(fields=["account", "at"], name="ledger_by_account"),
                    models.Index(
                        fields=["cash_session"], condition=Q(cash_session__isnull=False), name="ledger_by_cash_session"
                    ),
                ],
                "constraints": [
                    models.CheckConstraint(condition=~Q(amount=0), name="ledger_entry_moves_money"),
                    models.CheckConstraint(
                        condition=Q(account="member_credit", member__isnull=False)
                        | ~Q(account="member_credit") & Q(member__isnull=True),
                        name="ledger_member_stands_on_member_credit_only",
                    ),
                    models.CheckConstraint(
                        condition=Q(cash_session__isnull=True, receipt__isnull=False)
                        | Q(cash_session__isnull=False, receipt__isnull=True),
                        name="ledger_entry_is_of_a_receipt_or_a_drawer",
                    ),
                ],
            },
        ),
        # An M-Pesa code that a payer showed at the desk; no money until Safaricom's evidence is here.
        migrations.CreateModel(
            name="CodeClaim",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("code", models.CharField(help_text="Upper-cased; each code is reported once.", max_length=16, unique=True)),
                ("claimed_at", models.DateTimeField()),
                ("claimed_by", models.ForeignKey(on_delete=models.PROTECT, related_name="+", to=settings.AUTH_USER_MODEL)),
                ("payment", models.ForeignKey(on_delete=models.PROTECT, related_name="code_claims", to="payments.payment")),
                ("receipt", models.OneToOneField(help_text="The receipt that Safaricom's evidence made for the code.", null=True, on_delete=models.PROTECT, related_name="claim", to="payments.receipt")),
                ("ended_at", models.DateTimeField(help_text="When the code turned out not to be money for us.", null=True)),
                ("ended_why", models.CharField(blank=True, help_text="One plain sentence for staff.", max_length=160)),
            ],
            options={
                "verbose_name": "reported code",
                "indexes": [
                    models.Index(
                        fields=["claimed_at"],
                        condition=Q(ended_at__isnull=True, receipt__isnull=True),
                        name="claim_waiting",
                    ),
                ],
                "constraints": [
                    models.CheckConstraint(condition=Q(code__regex="^[0-9A-Z]{1,16}$"), name="claim_code_is_canonical"),
                    models.CheckConstraint(
                        condition=Q(receipt__isnull=True) | Q(ended_at__isnull=True),
                        name="claim_with_money_has_not_ended",
                    ),
                ],
            },
        ),
        # One question to Safaricom about an M-Pesa code (Transaction Status).
        migrations.CreateModel(
            name="CodeCheck",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("code", models.CharField(help_text="Upper-cased.", max_length=16)),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("waiting", "Waiting"),
                            ("asked", "Asked"),
                            ("found", "Found"),
                            ("no_money", "No Money"),
                            ("unclear", "Unclear"),
                        ],
                        default="waiting",
                        max_length=12,
                    ),
                ),
                ("created_at", models.DateTimeField()),
                ("token_hash", models.CharField(help_text="SHA-256, hexadecimal.", max_length=64, null=True, unique=True)),
                ("conversation_id", models.CharField(blank=True, help_text="Safaricom's ID of the query.", max_length=64)),
                ("result_code", models.CharField(blank=True, max_length=32)),
                ("said", models.CharField(blank=True, help_text="The result, one plain sentence for staff.", max_length=160)),
                ("ended_at", models.DateTimeField(null=True)),
                ("asked_by", models.ForeignKey(help_text="Empty: a background job.", null=True, on_delete=models.PROTECT, related_name="+", to=settings.AUTH_USER_MODEL)),
                ("receipt", models.ForeignKey(null=True, on_delete=models.PROTECT, related_name="code_checks", to="payments.receipt")),
            ],
            options={
                "indexes": [
                    models.Index(fields=["-created_at", "-id"], name="code_check_newest_first"),
                    models.Index(fields=["code"], name="code_check_by_code"),
                    models.Index(
                        fields=["created_at"], condition=Q(status__in=("waiting", "asked")), name="code_check_open"
                    ),
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=Q(code__regex="^[0-9A-Z]{1,16}$"), name="code_check_code_is_canonical"
                    ),
                    models.UniqueConstraint(
                        fields=("code",),
                        condition=Q(status__in=("waiting", "asked")),
                        name="code_check_open_once_per_code",
                    ),
                    models.CheckConstraint(
                        condition=Q(ended_at__isnull=True, status__in=("waiting", "asked"))
                        | ~Q(status__in=("waiting", "asked")) & Q(ended_at__isnull=False),
                        name="code_check_end_has_a_moment",
                    ),
                    models.CheckConstraint(
                        condition=~Q(status="found") | Q(receipt__isnull=False),
                        name="code_check_found_has_its_receipt",
                    ),
                ],
            },
        ),
        # What Safaricom sent, byte for byte, stored before it is applied.
        migrations.CreateModel(
            name="Callback",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "source",
                    models.CharField(
                        choices=[
                            ("stk", "Stk"),
                            ("c2b_confirmation", "C2B Confirmation"),
                            ("c2b_validation", "C2B Validation"),
                            ("code_check", "Code Check"),
                            ("code_check_timeout", "Code Check Timeout"),
                        ],
                        max_length=20,
                    ),
                ),
                ("body", models.BinaryField()),
                ("headers", models.JSONField(default=dict)),
                ("peer", models.GenericIPAddressField(null=True)),
                ("received_at", models.DateTimeField()),
                (
                    "outcome",
                    models.CharField(
                        choices=[
                            ("new", "New"),
                            ("applied", "Applied"),
                            ("duplicate", "Duplicate"),
                            ("rejected", "Rejected"),
                            ("unmatched", "Unmatched"),
                            ("review", "Review"),
                        ],
                        default="new",
                        max_length=12,
                    ),
                ),
                ("processed_at", models.DateTimeField(null=True)),
                ("error", models.CharField(blank=True, max_length=255)),
                ("attempts", models.PositiveSmallIntegerField(default=0)),
                ("push", models.ForeignKey(null=True, on_delete=models.PROTECT, related_name="callbacks", to="payments.stkpush")),
                ("code_check", models.ForeignKey(db_index=False, null=True, on_delete=models.PROTECT, related_name="callbacks", to="payments.codecheck")),
                ("next_try_at", models.DateTimeField(db_default=Now())),
            ],
            options={
                "verbose_name": "callback from Safaricom",
                "verbose_name_plural": "callbacks from Safaricom",
                "indexes": [
                    models.Index(fields=["next_try_at"], condition=Q(outcome="new"), name="callback_waiting"),
                ],
            },
        ),
        # What a person must decide, with the reason and the evidence.
        migrations.CreateModel(
            name="ReviewItem",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "reason",
                    models.CharField(
                        choices=[
                            ("unmatched", "Unmatched"),
                            ("amount_differs", "Amount Differs"),
                            ("code_used_twice", "Code Used Twice"),
                            ("contradiction", "Contradiction"),
                            ("overdue_unknown", "Overdue Unknown"),
                            ("late_money", "Late Money"),
                            ("listener_failed", "Listener Failed"),
                            ("unreadable", "Unreadable"),
                            ("cash_differs", "Cash Differs"),
                        ],
                        max_length=20,
                    ),
                ),
                ("status", models.CharField(choices=[("open", "Open"), ("resolved", "Resolved"), ("dismissed", "Dismissed")], default="open", max_length=12)),
                ("detail", models.CharField(blank=True, help_text="One plain sentence for staff.", max_length=255)),
                ("suggested_members", ArrayField(base_field=models.BigIntegerField(), default=list, size=None)),
                ("created_at", models.DateTimeField()),
                ("resolved_at", models.DateTimeField(null=True)),
                ("resolution", models.CharField(blank=True, max_length=255)),
                ("callback", models.ForeignKey(null=True, on_delete=models.PROTECT, related_name="review_items", to="payments.callback")),
                ("payment", models.ForeignKey(null=True, on_delete=models.PROTECT, related_name="review_items", to="payments.payment")),
                ("receipt", models.ForeignKey(null=True, on_delete=models.PROTECT, related_name="review_items", to="payments.receipt")),
                ("resolved_by", models.ForeignKey(null=True, on_delete=models.PROTECT, related_name="+", to=settings.AUTH_USER_MODEL)),
                ("push", models.ForeignKey(null=True, on_delete=models.PROTECT, related_name="review_items", to="payments.stkpush")),
            ],
            options={
                "verbose_name": "review item",
                "indexes": [
                    models.Index(fields=["-created_at"], condition=Q(status="open"), name="review_open"),
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=Q(status="open") | Q(resolved_at__isnull=False), name="review_end_has_a_moment"
                    ),
                    models.UniqueConstraint(
                        F("receipt"),
                        F("reason"),
                        F("detail"),
                        condition=Q(receipt__isnull=False, status="open"),
                        name="review_says_a_thing_of_a_receipt_once",
                    ),
                ],
            },
        ),
        # The rate of calls to Safaricom, and the pause after failures, shared by all processes.
        migrations.CreateModel(
            name="DarajaGate",
            fields=[
                ("app", models.CharField(max_length=16, primary_key=True, serialize=False)),
                ("next_at", models.DateTimeField(help_text="When the next call is due at an even rate; bursts may run ahead of it.")),
                ("failures", models.PositiveIntegerField(default=0, help_text="Calls in a row that Safaricom did not answer well.")),
                ("open_until", models.DateTimeField(help_text="After too many failures: no call before this, then one to try.")),
            ],
        ),
        # Safaricom's access token, shared by all processes.
        migrations.CreateModel(
            name="DarajaToken",
            fields=[
                ("app", models.CharField(help_text="Which host and key it belongs to, hashed.", max_length=16, primary_key=True, serialize=False)),
                ("value", models.TextField(blank=True, help_text="Worth an hour at most; never logged, never shown.")),
                ("version", models.PositiveIntegerField(default=0, help_text="Grows with each token; names one without showing it.")),
                ("expires_at", models.DateTimeField()),
                ("fetching_until", models.DateTimeField(help_text="Until when one process may fetch the next one alone.", null=True)),
            ],
        ),
    ]
