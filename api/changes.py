"""The audit trail: who added, changed or deleted a row, with the values before and after.

Services write it in the transaction of the change, so that the API, the admin and commands leave the same trail. Money
has its own: receipts, refunds and the other rows of payments name their authors (payments/models).
"""

from datetime import datetime

from django.db.models import Model
from django.db.models.fields.files import FieldFile

from api import request_ids
from api.models import Change, ChangeKind

HIDDEN = "(not shown)"
HIDDEN_FIELDS = {"password"}  # a hash helps whoever guesses passwords


def values_of(row: Model) -> dict:
    """Return the row's columns by name, for `record_change` later."""
    values = {field.attname: field.value_from_object(row) for field in row._meta.concrete_fields}
    return {name: str(value) if isinstance(value, FieldFile) else value for name, value in values.items()}


def record_addition(row: Model, *, by_id: int | None, now: datetime) -> None:
    """Record a new row. `by_id` is None for a command."""
    added = {name: value for name, value in values_of(row).items() if value not in (None, "")}
    _write(row, ChangeKind.ADDED, {}, added, by_id, now)


def record_change(row: Model, *, before: dict, by_id: int | None, now: datetime) -> None:
    """Record the columns that differ from `before`, if there are any. `by_id` is None for a command."""
    after = {name: value for name, value in values_of(row).items() if value != before[name]}
    if after:
        _write(row, ChangeKind.CHANGED, {name: before[name] for name in after}, after, by_id, now)


def record_deletion(row: Model, *, by_id: int | None, now: datetime) -> None:
    """Record a row that is about to be deleted. `by_id` is None for a command."""
    _write(row, ChangeKind.DELETED, values_of(row), {}, by_id, now)


def record_action(row: Model, action: str, *, by_id: int, now: datetime) -> None:
    """Record an action on a row whose columns another library changes."""
    _write(row, ChangeKind.CHANGED, {}, {"action": action}, by_id, now)


def _write(row: Model, kind: str, before: dict, after: dict, by_id: int | None, now: datetime) -> None:
    before, after = (
        {name: HIDDEN if name in HIDDEN_FIELDS else value for name, value in values.items()}
        for values in (before, after)
    )
    Change.objects.create(
        by_id=by_id,
        at=now,
        table=row._meta.label_lower,
        row=str(row.pk),
        kind=kind,
        before=before,
        after=after,
        request_id=request_ids.current.get(),
    )
