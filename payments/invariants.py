"""The invariants of payments, each with an SQL query for the rows that break it: no row, and it holds.

`manage.py audit_books` runs them. They hold at every moment, except the `quiet` ones, which hold once the workers have
finished their work.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Invariant:
    """A rule, and the query for the rows that break it. The first column of the query is the id of the row."""

    code: str
    promise: str
    sql: str
    quiet: bool = False  # holds only once the workers have finished their work


INVARIANTS = [
    Invariant(
        "P01",
        "One M-Pesa code is one receipt, also in another letter case or with spaces.",
        """
        SELECT min(id), upper(btrim(code)) FROM payments_receipt WHERE code IS NOT NULL
        GROUP BY upper(btrim(code)) HAVING count(*) > 1
        """,
    ),
    Invariant(
        "P02",
        "A payment is paid exactly when its live allocations reach the amount due.",
        """
        SELECT p.id, p.status FROM payments_payment p
        LEFT JOIN payments_allocation a ON a.payment_id = p.id AND a.undone_at IS NULL
        GROUP BY p.id HAVING coalesce(sum(a.amount), 0) <> p.amount_paid
            OR (p.status = 'paid') <> (p.amount_paid = p.amount_due AND p.status NOT IN ('cancelled', 'refunded'))
            OR (p.status = 'partially_paid') <> (p.amount_paid > 0 AND p.amount_paid < p.amount_due)
        """,
    ),
    Invariant(
        "P03",
        "Every posting has at least two legs and sums to zero, and so does the ledger.",
        """
        SELECT transaction::text FROM payments_ledgerentry GROUP BY transaction
        HAVING sum(amount) <> 0 OR count(*) < 2
        UNION ALL SELECT 'the whole ledger' FROM payments_ledgerentry HAVING sum(amount) <> 0
        """,
    ),
    Invariant(
        "P04",
        "A receipt's amount, less refunds, is booked on its channel's account. A reversal takes the amount out again.",
        """
        SELECT r.id FROM (
            SELECT *, CASE WHEN channel IN ('mpesa_stk', 'mpesa_c2b') THEN 'mpesa' ELSE channel END AS account
            FROM payments_receipt
        ) r LEFT JOIN payments_ledgerentry e ON e.receipt_id = r.id AND e.account = r.account
        GROUP BY r.id, r.account, r.reversed_at, r.amount
        HAVING coalesce(sum(e.amount), 0) <> CASE WHEN r.reversed_at IS NULL THEN r.amount ELSE 0 END - (
            SELECT coalesce(sum(f.amount), 0) FROM payments_refund f
            WHERE f.receipt_id = r.id AND f.paid_from = r.account)
        """,
    ),
    Invariant(
        "P05",
        "Every succeeded push, and no other, has a receipt of the push's amount.",
        """
        SELECT s.id FROM payments_stkpush s LEFT JOIN payments_receipt r ON r.push_id = s.id
        WHERE (s.status = 'succeeded' AND (r.id IS NULL OR r.amount <> s.amount))
            OR (s.status <> 'succeeded' AND r.id IS NOT NULL)
        """,
    ),
    Invariant(
        "P06",
        "No callback is new for more than two minutes.",
        "SELECT id FROM payments_callback WHERE outcome = 'new' AND received_at < now() - interval '2 minutes'",
        quiet=True,
    ),
    Invariant(
        "P07",
        "Live allocations never exceed what their receipt holds. A reversed receipt has none.",
        """
        SELECT r.id FROM payments_receipt r JOIN payments_allocation a ON a.receipt_id = r.id AND a.undone_at IS NULL
        GROUP BY r.id
        HAVING sum(a.amount) > CASE WHEN r.reversed_at IS NULL THEN r.amount - r.amount_refunded ELSE 0 END
        """,
    ),
    Invariant(
        "P08",
        "A payment's `amount_paid` is its sum on the sales account.",
        """
        SELECT p.id FROM payments_payment p
        LEFT JOIN payments_ledgerentry e ON e.payment_id = p.id AND e.account = 'sales'
        GROUP BY p.id HAVING coalesce(-sum(e.amount), 0) <> p.amount_paid
        """,
    ),
    Invariant(
        "P09",
        "A member's credit in the ledger is the unspent part of the member's receipts, and never negative.",
        """
        SELECT coalesce(held.member_id, booked.member_id) FROM (
            SELECT r.member_id, sum(r.amount - r.amount_refunded - coalesce(a.used, 0)) AS amount
            FROM payments_receipt r
            LEFT JOIN (SELECT receipt_id, sum(amount) AS used FROM payments_allocation WHERE undone_at IS NULL
                       GROUP BY receipt_id) a ON a.receipt_id = r.id
            WHERE r.member_id IS NOT NULL AND r.reversed_at IS NULL GROUP BY r.member_id
        ) held FULL JOIN (
            SELECT member_id, -sum(amount) AS amount FROM payments_ledgerentry WHERE account = 'member_credit'
            GROUP BY member_id
        ) booked ON booked.member_id = held.member_id
        WHERE coalesce(held.amount, 0) <> coalesce(booked.amount, 0) OR coalesce(booked.amount, 0) < 0
        """,
    ),
    Invariant(
        "P10",
        "Money without an owner is on the unmatched account, and has an open or dismissed review item.",
        """
        SELECT r.id FROM payments_receipt r
        LEFT JOIN payments_ledgerentry e ON e.receipt_id = r.id AND e.account = 'unmatched'
        GROUP BY r.id
        HAVING coalesce(-sum(e.amount), 0) <> CASE WHEN r.member_id IS NULL AND r.reversed_at IS NULL
                                              THEN r.amount - r.amount_refunded ELSE 0 END
        UNION ALL
        SELECT r.id FROM payments_receipt r
        WHERE r.member_id IS NULL AND r.reversed_at IS NULL AND r.amount > r.amount_refunded AND NOT EXISTS (
            SELECT FROM payments_reviewitem i WHERE i.receipt_id = r.id
            AND ((i.reason IN ('unmatched', 'amount_with_cents') AND i.status IN ('open', 'dismissed'))
                OR (i.reason = 'possible_double' AND i.status = 'open')))
        """,
    ),
    Invariant(
        "P11",
        "A payment's history has no gap and no forbidden transition, and ends in its status.",
        """
        WITH e AS (
            SELECT *, lag(to_status) OVER w AS before, lead(id) OVER w AS next FROM payments_paymentevent
            WINDOW w AS (PARTITION BY payment_id ORDER BY id)
        )
        SELECT e.payment_id, e.id FROM e JOIN payments_payment p ON p.id = e.payment_id
        WHERE coalesce(e.before, '') <> e.from_status OR (e.next IS NULL AND p.status <> e.to_status)
            OR (e.from_status IN ('cancelled', 'refunded'))
            OR (e.from_status = 'paid' AND e.to_status NOT IN ('partially_paid', 'pending', 'expired', 'refunded'))
        UNION ALL
        SELECT p.id, NULL FROM payments_payment p
        WHERE NOT EXISTS (SELECT FROM payments_paymentevent e WHERE e.payment_id = p.id)
        """,
    ),
    Invariant(
        "P12",
        "No push is open for more than 26 hours without a review item.",
        """
        SELECT s.id FROM payments_stkpush s WHERE s.status IN ('created', 'sending', 'sent', 'unknown')
            AND s.created_at < now() - interval '26 hours' AND NOT EXISTS (
                SELECT FROM payments_reviewitem i WHERE i.push_id = s.id)
        """,
        quiet=True,
    ),
    Invariant(
        "P13",
        "At most one push is open per payment, and per phone.",
        """
        SELECT min(id), payment_id::text FROM payments_stkpush
        WHERE status IN ('created', 'sending', 'sent', 'unknown') GROUP BY payment_id HAVING count(*) > 1
        UNION ALL
        SELECT min(id), phone FROM payments_stkpush
        WHERE status IN ('created', 'sending', 'sent', 'unknown') GROUP BY phone HAVING count(*) > 1
        """,
    ),
    Invariant(
        "P14",
        "No payment is paid before its creation or in the future. No push is sent or ended before its creation.",
        """
        SELECT id FROM payments_payment WHERE paid_at < created_at OR (status = 'paid') <> (paid_at IS NOT NULL)
        UNION ALL SELECT p.id FROM payments_payment p WHERE p.paid_at > interval '5 minutes' + (
            SELECT max(e.at) FROM payments_paymentevent e WHERE e.payment_id = p.id AND e.to_status = 'paid')
        UNION ALL SELECT id FROM payments_stkpush WHERE sent_at < created_at OR ended_at < created_at
        """,
    ),
    Invariant(
        "P15",
        "No job has a dead worker, no payment job has failed (a periodic one: since its last success), and no job is"
        " overdue by more than two minutes.",
        """
        SELECT j.id FROM procrastinate_jobs j LEFT JOIN procrastinate_workers w ON w.id = j.worker_id
        WHERE (j.status = 'doing' AND (w.id IS NULL OR w.last_heartbeat < now() - interval '2 minutes'))
            OR (j.status = 'todo' AND coalesce(j.scheduled_at, (
                SELECT max(at) FROM procrastinate_events e WHERE e.job_id = j.id)) < now() - interval '2 minutes')
            OR (j.status IN ('failed', 'aborted') AND j.task_name LIKE 'payments.%' AND NOT EXISTS (
                SELECT FROM procrastinate_jobs later WHERE later.queueing_lock = j.queueing_lock
                AND later.task_name = j.task_name AND later.id > j.id AND later.status = 'succeeded'))
        """,
        quiet=True,
    ),
    Invariant(
        "P16",
        "No job's arguments contain a whole phone number or a secret.",
        r"""
        SELECT id FROM procrastinate_jobs WHERE args::text ~ '(\+?254|\m0)[17]\d{8}\M'
            OR args::text ~* '(passkey|consumer_secret|bearer )'
        """,
    ),
    Invariant(
        "P17",
        "The money of a push has an owner.",
        """
        SELECT id FROM payments_receipt WHERE push_id IS NOT NULL AND member_id IS NULL AND reversed_at IS NULL
        """,
    ),
    Invariant(
        "P18",
        "No failed listener stays failed for more than a day.",
        """
        SELECT i.id FROM payments_reviewitem i WHERE i.reason = 'listener_failed' AND i.status = 'open'
            AND i.created_at < now() - interval '1 day'
        """,
        quiet=True,
    ),
    Invariant(
        "P19",
        "The desk receipts of a year are numbered without a gap.",
        """
        SELECT c.year FROM payments_receiptcounter c
        LEFT JOIN payments_receipt r ON r.number LIKE c.year || '-%' GROUP BY c.year, c.last
        HAVING count(r.id) <> c.last OR max(r.number) <> c.year || '-' || lpad(c.last::text, 6, '0')
        """,
    ),
    Invariant(
        "P20",
        "A reported or checked code has the receipt of this code. A desk receipt is voided by a second person.",
        """
        SELECT c.id FROM payments_codeclaim c JOIN payments_receipt r ON r.id = c.receipt_id WHERE r.code <> c.code
        UNION ALL
        SELECT c.id FROM payments_codecheck c JOIN payments_receipt r ON r.id = c.receipt_id WHERE r.code <> c.code
        UNION ALL
        SELECT id FROM payments_receipt WHERE channel IN ('cash', 'bank') AND reversed_at IS NOT NULL
            AND reversed_by_id IS NOT DISTINCT FROM recorded_by_id
        """,
    ),
    Invariant(
        "P21",
        "Every applied callback of a succeeded push has a receipt.",
        """
        SELECT c.id FROM payments_callback c JOIN payments_stkpush s ON s.id = c.push_id
        WHERE c.source = 'stk' AND c.outcome IN ('applied', 'duplicate') AND s.status = 'succeeded'
            AND NOT EXISTS (SELECT FROM payments_receipt r WHERE r.push_id = s.id)
        """,
    ),
    Invariant(
        "P22",
        "The money of a push is its payer's and pays the push's payments, unless it was released from one of them.",
        """
        SELECT s.id FROM payments_stkpush s
        JOIN payments_payment p ON p.id = s.payment_id
        JOIN payments_receipt r ON r.push_id = s.id AND r.reversed_at IS NULL
        WHERE r.member_id <> p.payer_id OR (
            r.amount - r.amount_refunded > (
                SELECT coalesce(sum(a.amount), 0) FROM payments_allocation a JOIN payments_payment own
                    ON own.id = a.payment_id AND p.id IN (own.id, own.head_id)
                WHERE a.receipt_id = r.id AND a.undone_at IS NULL)
            AND EXISTS (
                SELECT FROM payments_payment own
                WHERE p.id IN (own.id, own.head_id) AND own.amount_paid < own.amount_due
                    AND own.status NOT IN ('cancelled', 'refunded')
                    AND NOT EXISTS (SELECT FROM payments_allocation gone
                                    WHERE gone.payment_id = own.id AND gone.undone_at IS NOT NULL)))
        """,
    ),
    Invariant(
        "P23",
        "A receipt's `amount_refunded` is the sum of its refunds.",
        """
        SELECT r.id FROM payments_receipt r LEFT JOIN payments_refund f ON f.receipt_id = r.id
        GROUP BY r.id HAVING coalesce(sum(f.amount), 0) <> r.amount_refunded
        """,
    ),
    Invariant(
        "P24",
        "A counted drawer is booked as counted: float, plus cash receipts, less refunds, plus the difference.",
        """
        SELECT s.id FROM payments_cashsession s WHERE s.closed_at IS NOT NULL AND s.counted <> s.opening_float
            + (SELECT coalesce(sum(r.amount), 0) FROM payments_receipt r
               WHERE r.cash_session_id = s.id AND (r.reversed_at IS NULL OR r.reversed_at > s.closed_at))
            - (SELECT coalesce(sum(f.amount), 0) FROM payments_refund f WHERE f.cash_session_id = s.id)
            + (SELECT coalesce(sum(e.amount), 0) FROM payments_ledgerentry e
               WHERE e.cash_session_id = s.id AND e.account = 'cash')
        """,
    ),
    Invariant(
        "P25",
        "Held money has no other review item that would assign it, and its push has money without a code.",
        """
        SELECT i.id FROM payments_reviewitem i JOIN payments_receipt r ON r.id = i.receipt_id
        WHERE i.reason = 'possible_double' AND i.status = 'open' AND (
            NOT EXISTS (SELECT FROM payments_receipt w
                        WHERE w.push_id = i.push_id AND w.code IS NULL AND w.reversed_at IS NULL)
            OR (r.member_id IS NULL AND EXISTS (
                SELECT FROM payments_reviewitem other
                WHERE other.receipt_id = r.id AND other.reason = 'unmatched' AND other.status <> 'resolved')))
        """,
    ),
    Invariant(
        "P26",
        "A success by query whose M-Pesa code has not arrived for a day has a review item.",
        """
        SELECT r.id FROM payments_receipt r WHERE r.push_id IS NOT NULL AND r.code IS NULL AND r.reversed_at IS NULL
            AND r.created_at < now() - interval '26 hours' AND NOT EXISTS (
                SELECT FROM payments_reviewitem i WHERE i.receipt_id = r.id AND i.reason = 'code_missing')
        """,
        quiet=True,
    ),
    Invariant(
        "P27",
        "A receipt's owner is the payer of the payments that its money pays, or of the group that they belong to.",
        """
        SELECT r.id, p.id FROM payments_receipt r
        JOIN payments_allocation a ON a.receipt_id = r.id AND a.undone_at IS NULL
        JOIN payments_payment p ON p.id = a.payment_id
        LEFT JOIN payments_payment head ON head.id = p.head_id
        WHERE r.member_id IS NULL OR r.member_id NOT IN (p.payer_id, coalesce(head.payer_id, p.payer_id))
        """,
    ),
    Invariant(
        "P30",
        "Money with cents is used only after a check has found its code.",
        """
        SELECT r.id FROM payments_receipt r WHERE r.cents > 0 AND (r.member_id IS NOT NULL OR r.amount_refunded > 0)
            AND NOT EXISTS (SELECT FROM payments_codecheck c WHERE c.receipt_id = r.id AND c.status = 'found')
        """,
    ),
    Invariant(
        "P28",
        "No member has credit that would pay a debt, or complete an open payment. An open review item may reserve it.",
        """
        SELECT p.id FROM payments_payment p
        JOIN (
            SELECT r.member_id, sum(r.amount - r.amount_refunded - coalesce(a.used, 0)) AS amount
            FROM payments_receipt r
            LEFT JOIN (SELECT receipt_id, sum(amount) AS used FROM payments_allocation WHERE undone_at IS NULL
                       GROUP BY receipt_id) a ON a.receipt_id = r.id
            WHERE r.member_id IS NOT NULL AND r.reversed_at IS NULL AND NOT EXISTS (
                SELECT FROM payments_reviewitem i
                WHERE i.receipt_id = r.id AND i.reason = 'late_money' AND i.status = 'open')
            GROUP BY r.member_id
        ) credit ON credit.member_id = p.payer_id
        WHERE p.status IN ('pending', 'processing', 'failed', 'partially_paid') AND p.amount_paid < p.amount_due
            AND credit.amount >= CASE WHEN p.deposit_paid_at IS NULL THEN p.deposit - p.amount_paid ELSE 1 END
        """,
    ),
]
