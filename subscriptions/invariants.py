"""What must hold of memberships, as SQL that returns the rows that break it (none: it holds)."""

from payments.invariants import Invariant

INVARIANTS = [
    Invariant(
        "S01",
        "Nobody has access without money: what was granted has a payment of its price with its deposit, or of nothing.",
        """
        SELECT s.id FROM subscriptions_subscription s JOIN payments_payment p ON p.id = s.payment_id
        WHERE s.fact = 'granted' AND (p.status NOT IN ('paid', 'partially_paid') OR p.deposit_paid_at IS NULL
            OR p.amount_due <> CASE
            WHEN s.origin = 'bought' THEN s.price + s.joining_fee - s.value_carried ELSE 0 END)
        """,
    ),
    Invariant(
        "S02",
        "No money without access: what a payment with its deposit bought is granted, or a person has been told.",
        """
        SELECT s.id FROM subscriptions_subscription s JOIN payments_payment p ON p.id = s.payment_id
        WHERE p.deposit_paid_at IS NOT NULL AND s.fact <> 'granted' AND NOT EXISTS (
            SELECT FROM payments_reviewitem i WHERE i.payment_id = p.id
            AND i.reason IN ('listener_failed', 'contradiction'))
        """,
    ),
    Invariant(
        "S03",
        "Granted periods of one member and group never overlap.",
        """
        SELECT a.id, b.id FROM subscriptions_subscription a JOIN subscriptions_subscription b
            ON b.member_id = a.member_id AND b.group_id = a.group_id AND b.id > a.id AND b.fact = 'granted'
            AND daterange(a.starts_on, a.ends_on) && daterange(b.starts_on, b.ends_on)
        WHERE a.fact = 'granted'
        """,
    ),
    Invariant(
        "S04",
        "The length given is the length bought, months counted from the anchor.",
        """
        SELECT s.id FROM (
            SELECT *, CASE interval WHEN 'years' THEN 12 ELSE 1 END * interval_count AS months,
                (extract(year FROM starts_on) - extract(year FROM anchor_on))::int * 12
                + (extract(month FROM starts_on) - extract(month FROM anchor_on))::int AS since
            FROM subscriptions_subscription WHERE fact = 'granted' AND origin <> 'migrated'
        ) s WHERE s.base_ends_on <> CASE s.interval
            WHEN 'days' THEN s.starts_on + s.interval_count
            WHEN 'weeks' THEN s.starts_on + 7 * s.interval_count
            ELSE (s.anchor_on + make_interval(months => s.since + s.months))::date END
        OR (s.interval IN ('months', 'years')
            AND s.starts_on <> (s.anchor_on + make_interval(months => s.since))::date)
        """,
    ),
    Invariant(
        "S05",
        "Frozen and closed days are given back exactly, each once.",
        """
        SELECT s.id FROM subscriptions_subscription s WHERE s.fact = 'granted' AND s.cut_on IS NULL
        AND s.ends_on - s.base_ends_on <> (
            SELECT count(DISTINCT day) FROM (
                SELECT generate_series(greatest(f.starts_on, s.starts_on),
                    least(coalesce(f.ended_early_on, f.ends_on), s.ends_on) - 1, interval '1 day') AS day
                FROM subscriptions_freeze f JOIN subscriptions_subscription o ON o.id = f.subscription_id
                WHERE o.member_id = s.member_id AND o.group_id = s.group_id AND o.fact = 'granted'
                UNION ALL
                SELECT generate_series(greatest(c.starts_on, s.starts_on), least(c.ends_on, s.ends_on) - 1,
                    interval '1 day')
                FROM subscriptions_closure c
            ) days)
        """,
    ),
    Invariant(
        "S06",
        "No gap is charged: a period starts on the first day it may, or where the one before it ends.",
        """
        SELECT s.id FROM subscriptions_subscription s WHERE s.fact = 'granted' AND s.starts_on <> s.not_before
        AND NOT EXISTS (
            SELECT FROM subscriptions_subscription b WHERE b.member_id = s.member_id AND b.group_id = s.group_id
            AND b.fact = 'granted' AND b.id <> s.id AND b.ends_on = s.starts_on)
        """,
    ),
    Invariant(
        "S07",
        "What an upgrade carried over was paid and is gone from the period it replaced; nothing else cuts a period.",
        """
        SELECT s.id FROM subscriptions_subscription s JOIN subscriptions_subscription o ON o.id = s.replaces_id
        JOIN payments_payment p ON p.id = o.payment_id
        WHERE s.fact = 'granted' AND s.value_carried > 0
            AND (p.status <> 'paid' OR o.fact <> 'granted' OR o.cut_on IS NULL OR o.cut_on <> s.not_before)
        UNION ALL
        SELECT o.id FROM subscriptions_subscription o WHERE o.fact = 'granted' AND o.cut_on IS NOT NULL
        AND NOT EXISTS (
            SELECT FROM subscriptions_subscription s WHERE s.replaces_id = o.id AND s.fact = 'granted')
        """,
    ),
    Invariant(
        "S08",
        "A pack lets nobody in more often than it says, and only its own member.",
        """
        SELECT s.id FROM subscriptions_subscription s JOIN subscriptions_visit v
            ON v.subscription_id = s.id AND v.decision = 'allow'
        GROUP BY s.id HAVING count(*) > s.visits OR bool_or(v.member_id <> s.member_id)
        """,
    ),
    Invariant(
        "S09",
        "What is pending waits for money that may still come.",
        """
        SELECT s.id FROM subscriptions_subscription s JOIN payments_payment p ON p.id = s.payment_id
        WHERE s.fact = 'pending' AND p.status IN ('cancelled', 'refunded') AND NOT EXISTS (
            SELECT FROM payments_reviewitem i WHERE i.payment_id = p.id AND i.reason = 'listener_failed')
        """,
    ),
    Invariant(
        "S10",
        "No visit is had twice: entered since an upgrade was asked for, it counts for that, as far as its pack goes.",
        """
        SELECT v.id FROM subscriptions_visit v JOIN subscriptions_subscription o ON o.id = v.subscription_id
            AND o.cut_on IS NOT NULL
        JOIN subscriptions_subscription s ON s.replaces_id = o.id AND s.fact = 'granted'
        WHERE v.decision = 'allow' AND v.at >= s.created_at AND (s.visits IS NULL OR s.visits > (
            SELECT count(*) FROM subscriptions_visit u WHERE u.subscription_id = s.id AND u.decision = 'allow'))
        """,
    ),
]
