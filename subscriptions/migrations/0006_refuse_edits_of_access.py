"""Triggers that refuse edits of what gives access, also under the application's own role.

A period keeps the terms that it was bought on, and a visit, a freeze and a closure what they recorded. What they cannot
refuse, such as a longer period, `manage.py audit_books` finds; docs/architecture.md lists both by column.
"""

from django.db import migrations

# The name of the trigger is the name of the constraint in the error.
REFUSE = """
CREATE FUNCTION subscriptions_refuse_edit() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% refuses this change of %', TG_NAME, TG_TABLE_NAME
        USING ERRCODE = 'restrict_violation', CONSTRAINT = TG_NAME, TABLE = TG_TABLE_NAME;
END $$;
"""
DROP_REFUSE = "DROP FUNCTION subscriptions_refuse_edit();"


def refuse(table: str, trigger: str, event: str, when: str = "true") -> migrations.RunSQL:
    """Return the trigger that refuses `event` on the rows to which `when` applies, or on the table for TRUNCATE."""
    each = "STATEMENT" if "TRUNCATE" in event else f"ROW WHEN ({when})"
    return migrations.RunSQL(
        f"CREATE TRIGGER {trigger} {event} ON subscriptions_{table} FOR EACH {each}"
        " EXECUTE FUNCTION subscriptions_refuse_edit()",
        f"DROP TRIGGER {trigger} ON subscriptions_{table}",
    )


def differ(columns: str) -> str:
    """Return the SQL condition that one of the columns changes."""
    new, old = (", ".join(f"{row}.{column}" for column in columns.split(", ")) for row in ("NEW", "OLD"))
    return f"ROW({new}) IS DISTINCT FROM ROW({old})"


TERMS = (
    "id, member_id, plan_id, group_id, payment_id, price, interval, interval_count, grace_days, late_renewal, visits,"
    " max_freeze_days, max_freezes, opens_at, closes_at, origin, joining_fee, replaces_id, value_carried,"
    " created_by_id, created_at"
)
# The length of an imported period is in no other row, and its payment of KES 0 cannot be lost.
IMPORTED_PERIOD_CHANGES = """
OLD.origin = 'migrated' AND OLD.fact = 'granted'
AND (NEW.fact <> OLD.fact OR NEW.base_ends_on - NEW.starts_on <> OLD.base_ends_on - OLD.starts_on)
"""
# A granted period starts on its first possible day, or moves to the end of the period before it. Its first possible day
# becomes the day on which it starts when an earlier period is revoked; so it does not move to the days that are free.
DATES_AGREE = """
CREATE FUNCTION subscriptions_period_moved() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (NEW.not_before <> OLD.not_before AND NEW.not_before <> OLD.starts_on)
        OR (NEW.starts_on <> OLD.starts_on AND NEW.starts_on <> NEW.not_before AND NOT EXISTS (
            SELECT FROM subscriptions_subscription b
            WHERE b.member_id = NEW.member_id AND b.group_id = NEW.group_id AND b.fact = 'granted'
                AND b.id <> NEW.id AND b.ends_on = NEW.starts_on))
    THEN
        RAISE EXCEPTION 'period % cannot start on these days', NEW.id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = TG_NAME, TABLE = TG_TABLE_NAME;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER subscription_starts_in_order AFTER UPDATE OF not_before, starts_on ON subscriptions_subscription
    FOR EACH ROW WHEN (OLD.fact = 'granted' AND NEW.fact = 'granted'
        AND (NEW.not_before <> OLD.not_before OR NEW.starts_on <> OLD.starts_on))
    EXECUTE FUNCTION subscriptions_period_moved();
"""
DROP_DATES_AGREE = """
DROP TRIGGER subscription_starts_in_order ON subscriptions_subscription;
DROP FUNCTION subscriptions_period_moved();
"""

VISIT = "id, member_id, at, decision, reason, gate, recorded_by_id"
# Visits move between a period and its upgrade only: an old pack could take those of a new one.
VISITS_MOVE = """
CREATE FUNCTION subscriptions_visit_moved() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (
        SELECT FROM subscriptions_subscription WHERE (id, replaces_id) IN (
            (NEW.subscription_id, OLD.subscription_id), (OLD.subscription_id, NEW.subscription_id)))
    THEN
        RAISE EXCEPTION 'visit % is of another period', NEW.id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = TG_NAME, TABLE = TG_TABLE_NAME;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER visit_keeps_its_period AFTER UPDATE OF subscription_id ON subscriptions_visit
    FOR EACH ROW WHEN (NEW.subscription_id IS DISTINCT FROM OLD.subscription_id)
    EXECUTE FUNCTION subscriptions_visit_moved();
"""
DROP_VISITS_MOVE = """
DROP TRIGGER visit_keeps_its_period ON subscriptions_visit;
DROP FUNCTION subscriptions_visit_moved();
"""

FREEZE = "id, starts_on, ends_on, kind, reason, requested_by_id, approved_by_id, created_at"
# A freeze may end earlier, and moves to the period that covers it, of the same member and group.
FREEZE_CHANGES = f"""
{differ(FREEZE)} OR NEW.ended_early_on IS NULL AND OLD.ended_early_on IS NOT NULL
OR NEW.ended_early_on > coalesce(OLD.ended_early_on, OLD.ends_on)
"""
FREEZES_MOVE = """
CREATE FUNCTION subscriptions_freeze_moved() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (SELECT count(DISTINCT (member_id, group_id)) FROM subscriptions_subscription
        WHERE id IN (NEW.subscription_id, OLD.subscription_id)) <> 1
    THEN
        RAISE EXCEPTION 'freeze % is of another member', NEW.id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = TG_NAME, TABLE = TG_TABLE_NAME;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER freeze_keeps_its_member AFTER UPDATE OF subscription_id ON subscriptions_freeze
    FOR EACH ROW WHEN (NEW.subscription_id <> OLD.subscription_id) EXECUTE FUNCTION subscriptions_freeze_moved();
"""
DROP_FREEZES_MOVE = """
DROP TRIGGER freeze_keeps_its_member ON subscriptions_freeze;
DROP FUNCTION subscriptions_freeze_moved();
"""


class Migration(migrations.Migration):
    dependencies = [("subscriptions", "0005_delete_kept_keys")]

    operations = [
        migrations.RunSQL(REFUSE, DROP_REFUSE),
        refuse("subscription", "subscription_terms_stay", f"AFTER UPDATE OF {TERMS}", differ(TERMS)),
        refuse(
            "subscription",
            "subscription_imported_stays",
            "AFTER UPDATE OF fact, starts_on, base_ends_on",
            IMPORTED_PERIOD_CHANGES,
        ),
        migrations.RunSQL(DATES_AGREE, DROP_DATES_AGREE),
        refuse("subscription", "subscription_is_kept", "BEFORE DELETE"),
        refuse("visit", "visit_stays", f"AFTER UPDATE OF {VISIT}", differ(VISIT)),
        migrations.RunSQL(VISITS_MOVE, DROP_VISITS_MOVE),
        refuse("visit", "visit_is_kept", "BEFORE DELETE"),
        refuse("freeze", "freeze_stays", f"AFTER UPDATE OF {FREEZE}, ended_early_on", FREEZE_CHANGES),
        migrations.RunSQL(FREEZES_MOVE, DROP_FREEZES_MOVE),
        refuse("freeze", "freeze_is_kept", "BEFORE DELETE"),
        refuse("closure", "closure_stays", "AFTER UPDATE"),
        # TRUNCATE of periods needs CASCADE, which reaches these tables.
        refuse("visit", "visit_is_not_truncated", "BEFORE TRUNCATE"),
        refuse("freeze", "freeze_is_not_truncated", "BEFORE TRUNCATE"),
    ]
