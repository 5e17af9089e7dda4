"""Triggers that refuse edits of stored money, also under the application's own role.

A row of money keeps the values that it was stored with. What the services change, they change in the ways that are
allowed here. Everything else is refused, or found by `manage.py audit_books`; docs/architecture.md lists both by column.

A condition names only columns of its own row, so it costs no query. The exception is a receipt's owner, which is
checked against the ledger and the payments when the transaction ends. None of these triggers runs on INSERT.
"""

from django.db import migrations

# The name of the trigger is the name of the constraint in the error.
REFUSE = """
CREATE FUNCTION payments_refuse_edit() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% refuses this change of %', TG_NAME, TG_TABLE_NAME
        USING ERRCODE = 'restrict_violation', CONSTRAINT = TG_NAME, TABLE = TG_TABLE_NAME;
END $$;
"""
DROP_REFUSE = "DROP FUNCTION payments_refuse_edit();"


def refuse_edit(table: str, trigger: str, *, of: str, when: str = "") -> migrations.RunSQL:
    """Return the trigger that refuses a change of the columns `of`, or an update of any of them to which `when` applies.

    It runs after the row's own constraints, which name their fault more exactly.
    """
    changed = ", ".join(f"NEW.{column}" for column in of.split(", "))
    when = when or f"ROW({changed}) IS DISTINCT FROM ROW({changed.replace('NEW.', 'OLD.')})"
    return migrations.RunSQL(
        f"CREATE TRIGGER {trigger} AFTER UPDATE OF {of} ON payments_{table} FOR EACH ROW WHEN ({when})"
        " EXECUTE FUNCTION payments_refuse_edit()",
        f"DROP TRIGGER {trigger} ON payments_{table}",
    )


def refuse_delete(table: str, trigger: str) -> migrations.RunSQL:
    return migrations.RunSQL(
        f"CREATE TRIGGER {trigger} BEFORE DELETE ON payments_{table} FOR EACH ROW"
        " EXECUTE FUNCTION payments_refuse_change()",
        f"DROP TRIGGER {trigger} ON payments_{table}",
    )


def refuse_truncate(table: str) -> migrations.RunSQL:
    return migrations.RunSQL(
        f"CREATE TRIGGER {table}_is_not_truncated BEFORE TRUNCATE ON payments_{table} FOR EACH STATEMENT"
        " EXECUTE FUNCTION payments_refuse_change()",
        f"DROP TRIGGER {table}_is_not_truncated ON payments_{table}",
    )


# Before it was reached, a minimum payment may be raised to the whole amount (require_full_payment).
MINIMUM_IS_LOWERED = """
NEW.deposit <> OLD.deposit AND (NEW.deposit <> NEW.amount_due OR OLD.deposit_paid_at IS NOT NULL)
"""
MOMENTS_MOVE_ALONE = """
NEW.amount_paid = OLD.amount_paid AND (
    NEW.deposit_paid_at IS DISTINCT FROM OLD.deposit_paid_at
    OR (NEW.paid_at IS DISTINCT FROM OLD.paid_at AND NEW.status = OLD.status))
"""
# An STK push and a confirmation of the same money are paired and parted.
CHANNEL_CHANGES = """
NEW.channel <> OLD.channel
AND NOT (NEW.channel IN ('mpesa_stk', 'mpesa_c2b') AND OLD.channel IN ('mpesa_stk', 'mpesa_c2b'))
"""
# A code arrives late, for the money of a push. It is replaced while it is a guess, and taken off a reversed duplicate.
CODE_CHANGES = """
NEW.code IS DISTINCT FROM OLD.code AND NOT (
    (OLD.code IS NULL AND NEW.push_id IS NOT NULL AND NEW.reversed_at IS NULL)
    OR (OLD.code IS NOT NULL AND OLD.push_guessed)
    OR (NEW.code IS NULL AND NEW.reversed_at IS NOT NULL))
"""
# A code becomes a guess only when it is paired with a push.
GUESS_IS_CLAIMED = """
NEW.push_guessed AND NOT OLD.push_guessed AND OLD.code IS NOT NULL
AND (OLD.push_id IS NOT NULL OR NEW.push_id IS NULL)
"""
# The date and the sender come with the code. Empty ones are filled; erasing personal data empties them.
DETAILS_CHANGE = """
NEW.code IS NOT DISTINCT FROM OLD.code AND (
    NEW.paid_at <> OLD.paid_at
    OR (NEW.payer_name <> OLD.payer_name AND '' NOT IN (NEW.payer_name, OLD.payer_name))
    OR (NEW.sender <> OLD.sender AND '' NOT IN (NEW.sender, OLD.sender))
    OR (NEW.account_typed <> OLD.account_typed AND '' NOT IN (NEW.account_typed, OLD.account_typed))
    OR (NEW.invoice_typed <> OLD.invoice_typed AND '' NOT IN (NEW.invoice_typed, OLD.invoice_typed)))
"""
REVERSAL_CHANGES = """
OLD.reversed_at IS NOT NULL AND ROW(NEW.reversed_at, NEW.reversed_by_id, NEW.reversal_reason)
    IS DISTINCT FROM ROW(OLD.reversed_at, OLD.reversed_by_id, OLD.reversal_reason)
"""

# Assigning money, undoing that, and following better evidence post the money to its new owner in the same transaction.
# That is how the trigger recognises them: at the end nothing of the receipt is on another owner's account, and the
# payments that it pays are the owner's, or of a group that the owner pays for. The same is invariant P27.
OWNER_AGREES = """
CREATE FUNCTION payments_owner_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (
        SELECT FROM payments_receipt r JOIN payments_ledgerentry e ON e.receipt_id = r.id
        WHERE r.id = NEW.id AND e.account IN ('member_credit', 'unmatched')
            AND e.member_id IS DISTINCT FROM r.member_id
        GROUP BY e.account, e.member_id HAVING sum(e.amount) <> 0
    ) OR EXISTS (
        SELECT FROM payments_receipt r
        JOIN payments_allocation a ON a.receipt_id = r.id AND a.undone_at IS NULL
        JOIN payments_payment p ON p.id = a.payment_id LEFT JOIN payments_payment head ON head.id = p.head_id
        WHERE r.id = NEW.id AND (
            r.member_id IS NULL OR r.member_id NOT IN (p.payer_id, coalesce(head.payer_id, p.payer_id)))
    ) THEN
        RAISE EXCEPTION 'the money of receipt % has another owner', NEW.id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = TG_NAME, TABLE = TG_TABLE_NAME;
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER receipt_owner_agrees AFTER UPDATE OF member_id ON payments_receipt
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.member_id IS DISTINCT FROM OLD.member_id)
    EXECUTE FUNCTION payments_owner_changed();
"""
DROP_OWNER_AGREES = """
DROP TRIGGER receipt_owner_agrees ON payments_receipt;
DROP FUNCTION payments_owner_changed();
"""

# A released allocation stays released.
ALLOCATION_TERMS = "id, receipt_id, payment_id, amount, rule, made_by_id, created_at"
ALLOCATION_CHANGES = f"""
OLD.undone_at IS NOT NULL OR ROW({", ".join(f"NEW.{each}" for each in ALLOCATION_TERMS.split(", "))})
    IS DISTINCT FROM ROW({", ".join(f"OLD.{each}" for each in ALLOCATION_TERMS.split(", "))})
"""
# The worker that claims a push asks for what is owed then.
PUSH_CHANGES = """
ROW(NEW.id, NEW.payment_id, NEW.phone, NEW.created_by_id, NEW.created_at)
    IS DISTINCT FROM ROW(OLD.id, OLD.payment_id, OLD.phone, OLD.created_by_id, OLD.created_at)
OR (NEW.amount <> OLD.amount AND OLD.status <> 'created')
"""
# An ended code may be reported for another payment.
CLAIM_CHANGES = """
NEW.code <> OLD.code
OR (OLD.ended_at IS NULL AND ROW(NEW.payment_id, NEW.claimed_by_id, NEW.claimed_at)
    IS DISTINCT FROM ROW(OLD.payment_id, OLD.claimed_by_id, OLD.claimed_at))
"""
SESSION_CHANGES = """
OLD.closed_at IS NOT NULL OR ROW(NEW.id, NEW.cashier_id, NEW.opened_at, NEW.opening_float)
    IS DISTINCT FROM ROW(OLD.id, OLD.cashier_id, OLD.opened_at, OLD.opening_float)
"""
VOID_CHANGES = """
OLD.decided_at IS NOT NULL OR ROW(NEW.id, NEW.receipt_id, NEW.reason, NEW.asked_by_id, NEW.asked_at)
    IS DISTINCT FROM ROW(OLD.id, OLD.receipt_id, OLD.reason, OLD.asked_by_id, OLD.asked_at)
"""


class Migration(migrations.Migration):
    dependencies = [("payments", "0010_limit_junk_callbacks_by_url")]

    operations = [
        migrations.RunSQL(REFUSE, DROP_REFUSE),
        refuse_edit(
            "payment",
            "payment_terms_stay",
            of="id, reference, payer_id, head_id, description, amount_due, created_by_id, created_at",
        ),
        refuse_edit("payment", "payment_minimum_stays", of="deposit", when=MINIMUM_IS_LOWERED),
        refuse_edit(
            "payment", "payment_moments_move_with_money", of="paid_at, deposit_paid_at", when=MOMENTS_MOVE_ALONE
        ),
        refuse_edit(
            "receipt", "receipt_terms_stay", of="id, amount, cents, number, recorded_by_id, cash_session_id, created_at"
        ),
        refuse_edit("receipt", "receipt_channel_stays", of="channel", when=CHANNEL_CHANGES),
        refuse_edit("receipt", "receipt_code_stays", of="code", when=CODE_CHANGES),
        refuse_edit("receipt", "receipt_guess_is_of_a_push", of="push_guessed", when=GUESS_IS_CLAIMED),
        refuse_edit(
            "receipt",
            "receipt_details_come_with_the_code",
            of="paid_at, payer_name, sender, account_typed, invoice_typed",
            when=DETAILS_CHANGE,
        ),
        refuse_edit(
            "receipt",
            "receipt_stays_reversed",
            of="reversed_at, reversed_by_id, reversal_reason",
            when=REVERSAL_CHANGES,
        ),
        migrations.RunSQL(OWNER_AGREES, DROP_OWNER_AGREES),
        refuse_edit(
            "allocation",
            "allocation_terms_stay",
            of=f"{ALLOCATION_TERMS}, undone_at, undone_by_id",
            when=ALLOCATION_CHANGES,
        ),
        refuse_delete("allocation", "allocation_is_kept"),
        refuse_edit(
            "stkpush",
            "push_terms_stay",
            of="id, payment_id, phone, amount, created_by_id, created_at",
            when=PUSH_CHANGES,
        ),
        refuse_edit(
            "codeclaim", "claim_terms_stay", of="code, payment_id, claimed_by_id, claimed_at", when=CLAIM_CHANGES
        ),
        refuse_edit(
            "cashsession",
            "cash_session_stays",
            of="id, cashier_id, opened_at, opening_float, closed_at, expected, counted, note",
            when=SESSION_CHANGES,
        ),
        refuse_delete("cashsession", "cash_session_is_kept"),
        refuse_edit(
            "voidrequest",
            "void_request_stays",
            of="id, receipt_id, reason, asked_by_id, asked_at, decided_by_id, decided_at, is_confirmed",
            when=VOID_CHANGES,
        ),
        refuse_delete("voidrequest", "void_request_is_kept"),
        refuse_edit(
            "reviewitem",
            "review_evidence_stays",
            of="id, reason, detail, receipt_id, payment_id, push_id, callback_id, created_at",
        ),
        refuse_delete("reviewitem", "review_is_kept"),
        # TRUNCATE of payments, receipts, pushes or callbacks needs CASCADE, which reaches one of these tables.
        *(
            refuse_truncate(table)
            for table in (
                "ledgerentry",
                "paymentevent",
                "taxnumber",
                "refund",
                "allocation",
                "voidrequest",
                "reviewitem",
            )
        ),
    ]
