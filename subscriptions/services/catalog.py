"""The price list: plan groups and plans. A subscription keeps the terms it was bought on, so no edit changes it."""

from django.db import transaction

from subscriptions.models import Plan, PlanGroup


def create_plan_group(**fields) -> PlanGroup:
    """Create a plan group."""
    return PlanGroup.objects.create(**fields)


@transaction.atomic
def edit_plan_group(*, group_id: int, **fields) -> PlanGroup:
    """Change a plan group. The change also applies to subscriptions that were sold before."""
    return _edit(PlanGroup, group_id, fields)


def create_plan(**fields) -> Plan:
    """Create a plan on the price list."""
    return Plan.objects.create(**fields)


@transaction.atomic
def edit_plan(*, plan_id: int, **fields) -> Plan:
    """Change a plan for purchases from now on."""
    return _edit(Plan, plan_id, fields)


def _edit(model, pk: int, fields: dict):
    row = model.objects.get(pk=pk)
    for name, value in fields.items():
        setattr(row, name, value)
    row.save(update_fields=list(fields))
    return row


def snapshot(plan: Plan) -> dict:
    """Return the terms of the plan now, as the fields of a subscription that keep them."""
    names = ("price", "interval", "interval_count", "grace_days", "late_renewal", "visits")
    limits = ("max_freeze_days", "max_freezes", "opens_at", "closes_at")
    return {"plan": plan, "group_id": plan.group_id} | {name: getattr(plan, name) for name in names + limits}
