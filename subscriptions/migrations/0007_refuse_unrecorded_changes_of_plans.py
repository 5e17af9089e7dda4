"""Triggers that refuse a change of the price list that is not in the audit trail.

A price could be lowered, used and restored, and nothing would show it. The trail (api_change) is append-only, so each
changed column must have its present value in the newest row of the trail that names it when the transaction ends.
"""

from django.db import migrations

CHANGE_IS_RECORDED = """
CREATE FUNCTION subscriptions_catalog_changed() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    present jsonb;
BEGIN
    EXECUTE format('SELECT to_jsonb(t) FROM %I.%I t WHERE id = $1', TG_TABLE_SCHEMA, TG_TABLE_NAME)
        INTO present USING NEW.id;
    IF EXISTS (
        SELECT FROM jsonb_object_keys(to_jsonb(NEW)) AS changed (name)
        WHERE to_jsonb(NEW) -> name IS DISTINCT FROM to_jsonb(OLD) -> name
            AND present -> name IS DISTINCT FROM (
                SELECT c.after -> name FROM api_change c
                WHERE c."table" = TG_ARGV[0] AND c.row = NEW.id::text AND c.after ? name ORDER BY c.id DESC LIMIT 1)
    ) THEN
        RAISE EXCEPTION 'the change of % is not in the audit trail', TG_TABLE_NAME
            USING ERRCODE = 'restrict_violation', CONSTRAINT = TG_NAME, TABLE = TG_TABLE_NAME;
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER plan_change_is_recorded AFTER UPDATE ON subscriptions_plan
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION subscriptions_catalog_changed('subscriptions.plan');
CREATE CONSTRAINT TRIGGER plangroup_change_is_recorded AFTER UPDATE ON subscriptions_plangroup
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
    EXECUTE FUNCTION subscriptions_catalog_changed('subscriptions.plangroup');
"""
DROP_CHANGE_IS_RECORDED = """
DROP TRIGGER plangroup_change_is_recorded ON subscriptions_plangroup;
DROP TRIGGER plan_change_is_recorded ON subscriptions_plan;
DROP FUNCTION subscriptions_catalog_changed();
"""


class Migration(migrations.Migration):
    dependencies = [
        ("subscriptions", "0006_refuse_edits_of_access"),
        ("api", "0004_record_changes_by_staff"),
    ]

    operations = [migrations.RunSQL(CHANGE_IS_RECORDED, DROP_CHANGE_IS_RECORDED)]
