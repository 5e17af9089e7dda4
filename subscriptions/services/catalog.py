"""The price list. What was bought keeps its own snapshot, so no edit here reaches it."""

from django.db import transaction

from subscriptions.models import Plan, PlanGroup


def create_plan_group(**fields) -> PlanGroup:
    """Add a group of plans."""
    return PlanGroup.objects.create(**fields)


@transaction.atomic
def edit_plan_group(*, group_id: int, **fields) -> PlanGroup:
    """Change what the group is, also for what was sold of it."""
    return _edit(PlanGroup, group_id, fields)


def create_plan(**fields) -> Plan:
    """Add a plan to the price list."""
    return Plan.objects.create(**fields)


@transaction.atomic
def edit_plan(*, plan_id: int, **fields) -> Plan:
    """Change what the plan is for those who buy it from now on."""
    return _edit(Plan, plan_id, fields)


def _edit(model, pk: int, fields: dict):
    row = model.objects.get(pk=pk)
    for name, value in fields.items():
        setattr(row, name, value)
    row.save(update_fields=list(fields))
    return row


def snapshot(plan: Plan) -> dict:
    """Return what a period keeps of the plan as it is when bought; editing the plan later changes none of it."""
    names = ("price", "interval", "interval_count", "grace_days", "late_renewal", "visits")
    limits = ("max_freeze_days", "max_freezes", "opens_at", "closes_at")
    return {"plan": plan, "group_id": plan.group_id} | {name: getattr(plan, name) for name in names + limits}
