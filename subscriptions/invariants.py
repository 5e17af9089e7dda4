"""Invariants of memberships: each is a promise and the SQL that returns the rows that break it."""

from payments.invariants import Invariant

INVARIANTS = [
    Invariant(
        "S01",
        "Access needs money: a granted period has a payment of its price with the minimum paid, or is free.",
        """
        SELECT s.id FROM subscriptions_subscription s JOIN payments_payment p ON p.id = s.payment_id
        WHERE s.fact = 'granted' AND (p.status NOT IN ('paid', 'partially_paid') OR p.deposit_paid_at IS NULL
            OR p.amount_due <> CASE
            WHEN s.origin = 'bought' THEN s.price + s.joining_fee - s.value_carried ELSE 0 END)
        """,
    ),
    Invariant(
        "S02",
        "Money gives access: a period whose minimum payment is paid is granted, or has a review item.",
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
        "A granted period has the length that was bought, with months counted from its anchor.",
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
        "A period is extended by exactly its frozen and closed days, each counted once.",
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
        "No gap is charged: a period starts on its first possible day, or on the end of the period before it.",
        """
        SELECT s.id FROM subscriptions_subscription s WHERE s.fact = 'granted' AND s.starts_on <> s.not_before
        AND NOT EXISTS (
            SELECT FROM subscriptions_subscription b WHERE b.member_id = s.member_id AND b.group_id = s.group_id
            AND b.fact = 'granted' AND b.id <> s.id AND b.ends_on = s.starts_on)
        """,
    ),
    Invariant(
        "S07",
        "The value that an upgrade carries was paid, and the replaced period was cut. Else only used-up packs are cut.",
        """
        SELECT s.id FROM subscriptions_subscription s JOIN subscriptions_subscription o ON o.id = s.replaces_id
        JOIN payments_payment p ON p.id = o.payment_id
        WHERE s.fact = 'granted' AND s.value_carried > 0
            AND (p.status <> 'paid' OR o.fact <> 'granted' OR o.cut_on IS NULL OR o.cut_on <> s.not_before)
        UNION ALL
        SELECT o.id FROM subscriptions_subscription o WHERE o.fact = 'granted' AND o.cut_on IS NOT NULL
        AND NOT EXISTS (
            SELECT FROM subscriptions_subscription s WHERE s.replaces_id = o.id AND s.fact = 'granted')
        AND (o.visits IS NULL OR o.visits > (
            SELECT count(*) FROM subscriptions_visit v WHERE v.subscription_id = o.id AND v.decision = 'allow'))
        """,
    ),
    Invariant(
        "S08",
        "A visit pack has no more visits than were bought, all of its own member.",
        """
        SELECT s.id FROM subscriptions_subscription s JOIN subscriptions_visit v
            ON v.subscription_id = s.id AND v.decision = 'allow'
        GROUP BY s.id HAVING count(*) > s.visits OR bool_or(v.member_id <> s.member_id)
        """,
    ),
    Invariant(
        "S09",
        "The payment of a pending period can still be paid.",
        """
        SELECT s.id FROM subscriptions_subscription s JOIN payments_payment p ON p.id = s.payment_id
        WHERE s.fact = 'pending' AND p.status IN ('cancelled', 'refunded') AND NOT EXISTS (
            SELECT FROM payments_reviewitem i WHERE i.payment_id = p.id AND i.reason = 'listener_failed')
        """,
    ),
    Invariant(
        "S10",
        "A visit after the request of an upgrade counts for the upgrade, as long as its pack has visits left.",
        """
        SELECT v.id FROM subscriptions_visit v JOIN subscriptions_subscription o ON o.id = v.subscription_id
            AND o.cut_on IS NOT NULL
        JOIN subscriptions_subscription s ON s.replaces_id = o.id AND s.fact = 'granted'
        WHERE v.decision = 'allow' AND v.at >= s.created_at AND (s.visits IS NULL OR s.visits > (
            SELECT count(*) FROM subscriptions_visit u WHERE u.subscription_id = s.id AND u.decision = 'allow'))
        """,
    ),
    Invariant(
        "S11",
        "A period can start on the day of its payment, unless an earlier period was revoked or granted again.",
        """
        SELECT s.id FROM subscriptions_subscription s JOIN payments_payment p ON p.id = s.payment_id
        WHERE s.fact = 'granted' AND s.origin <> 'migrated' AND s.replaces_id IS NULL
        AND s.not_before > (p.deposit_paid_at AT TIME ZONE 'Africa/Nairobi')::date
        AND NOT EXISTS (
            SELECT FROM subscriptions_subscription b WHERE b.member_id = s.member_id AND b.group_id = s.group_id
            AND b.id <> s.id AND (b.fact = 'revoked' OR b.granted_at > s.granted_at))
        """,
    ),
]
