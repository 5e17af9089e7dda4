"""The status of a period, as members and staff see it: a pure function of its recorded state, its dates and today.

The status is never stored, so a worker that is down cannot change anybody's access.
`querysets.SubscriptionQuerySet.with_status` computes the same in SQL.
"""

from datetime import date, timedelta

from django.db import models


class Status(models.TextChoices):
    PENDING = "pending"  # bought, not paid
    SCHEDULED = "scheduled"  # paid, starts later
    ACTIVE = "active"
    FROZEN = "frozen"
    EXHAUSTED = "exhausted"  # every visit of the pack is used
    GRACE = "grace"  # ended, but the gate still lets the member in
    EXPIRED = "expired"
    CANCELLED = "cancelled"  # cancelled before it was paid
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
    """Return the status of a period on the Nairobi day `today`.

    `fact`: the recorded state. `is_frozen`: a freeze or a closure covers today. `is_followed`: a later period of the
    group has started. `has_no_grace`: the member said that this period is the last one, or an upgrade cut it.
    """
    if fact != "granted" or starts_on is None or ends_on is None:
        return Status(fact)  # every granted period has its dates: a constraint of the table
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
