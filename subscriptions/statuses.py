"""What people see of a period: a pure function of what was decided, its dates and today.

Nothing of it is stored, so a worker that stands still changes nobody's access.
`querysets.SubscriptionQuerySet.with_status` says the same in SQL.
"""

from datetime import date, timedelta

from django.db import models


class Status(models.TextChoices):
    PENDING = "pending"  # bought, not paid
    SCHEDULED = "scheduled"  # paid, starts later
    ACTIVE = "active"
    FROZEN = "frozen"
    EXHAUSTED = "exhausted"  # every visit of the pack was used
    GRACE = "grace"  # over, still let in
    EXPIRED = "expired"
    CANCELLED = "cancelled"  # withdrawn before it was paid
    REVOKED = "revoked"  # the money went back


def status_on(
    today: date,
    *,
    fact: str,
    starts_on: date | None,
    ends_on: date | None,
    grace_days: int,
    visits: int | None,
    visits_used: int,
    is_frozen: bool,
    is_followed: bool,
    has_no_grace: bool,
) -> Status:
    """Return the status on a Nairobi day.

    `is_frozen`: a freeze covers today. `is_followed`: a later period of the group has begun.
    `has_no_grace`: the member said it is the last, or an upgrade cut it.
    """
    if fact != "granted":
        return Status(fact)
    if today < starts_on:
        return Status.SCHEDULED
    is_used_up = visits is not None and visits_used >= visits
    if today < ends_on:
        if is_frozen:
            return Status.FROZEN
        return Status.EXHAUSTED if is_used_up else Status.ACTIVE
    in_grace = today < ends_on + timedelta(days=grace_days)
    if in_grace and not (is_followed or has_no_grace or is_used_up):
        return Status.GRACE
    return Status.EXPIRED
