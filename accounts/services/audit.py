"""The audit trail of access."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from accounts.models import CustomUser, SecurityEvent


@dataclass(frozen=True, slots=True)
class Caller:
    """Where a request came from, as the audit keeps it."""

    ip: str | None = None
    user_agent: str = ""
    request_id: str = ""


def record(
    event: str,
    *,
    user: CustomUser | None,
    caller: Caller,
    now: datetime,
    actor: CustomUser | None = None,
    session_id: UUID | None = None,
    outcome: str = "ok",
    **detail,
) -> None:
    """Write one row of the audit; `detail` holds no secret and no whole identifier of an unknown person.

    The actor is the person themselves unless another is given, and nobody known when the act was refused.
    """
    SecurityEvent.objects.create(
        event=event,
        user=user,
        actor=actor or (user if outcome != "refused" else None),
        session_id=session_id,
        outcome=outcome,
        ip=caller.ip,
        user_agent=caller.user_agent,
        request_id=caller.request_id,
        detail=detail,
        at=now,
    )
