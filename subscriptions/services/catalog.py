"""The price list: plan groups and plans. A subscription keeps the terms it was bought on, so no edit changes it."""

from datetime import datetime

from django.db import transaction

from api import changes
from subscriptions.models import Plan, PlanGroup


@transaction.atomic
def create_plan_group(*, by_id: int | None, now: datetime, **fields) -> PlanGroup:
    """Create a plan group. `by_id` is None for a command, here and below."""
    return _create(PlanGroup, fields, by_id, now)


@transaction.atomic
def edit_plan_group(*, group_id: int, by_id: int | None, now: datetime, **fields) -> PlanGroup:
    """Change a plan group. The change also applies to subscriptions that were sold before."""
    return _edit(PlanGroup, group_id, fields, by_id, now)


@transaction.atomic
def create_plan(*, by_id: int | None, now: datetime, **fields) -> Plan:
    """Create a plan on the price list."""
    return _create(Plan, fields, by_id, now)


@transaction.atomic
def edit_plan(*, plan_id: int, by_id: int | None, now: datetime, **fields) -> Plan:
    """Change a plan for purchases from now on."""
    return _edit(Plan, plan_id, fields, by_id, now)


def _create(model, fields: dict, by_id: int | None, now: datetime):
    row = model.objects.create(**fields)
    changes.record_addition(row, by_id=by_id, now=now)
    return row


def _edit(model, pk: int, fields: dict, by_id: int | None, now: datetime):
    row = model.objects.select_for_update(no_key=True).get(pk=pk)
    before = changes.values_of(row)
    for name, value in fields.items():
        setattr(row, name, value)
    row.save(update_fields=list(fields))
    changes.record_change(row, before=before, by_id=by_id, now=now)
    return row


def snapshot(plan: Plan) -> dict:
    """Return the terms of the plan now, as the fields of a subscription that keep them."""
    names = ("price", "interval", "interval_count", "grace_days", "late_renewal", "visits")
    limits = ("max_freeze_days", "max_freezes", "opens_at", "closes_at")
    return {"plan": plan, "group_id": plan.group_id} | {name: getattr(plan, name) for name in names + limits}
