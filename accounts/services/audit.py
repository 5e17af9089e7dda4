"""The audit log of access: one function that writes it, and the origin of a request."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from accounts.models import CustomUser, SecurityEvent


@dataclass(frozen=True, slots=True)
class Caller:
    """The origin of a request, as the audit log stores it, and its device cookie."""

    ip: str | None = None
    user_agent: str = ""
    request_id: str = ""
    device: str = ""  # the device cookie (services/devices.py); never stored


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
    """Write one row of the audit log about `user`.

    The default actor is `user`, or nobody for a refused attempt. `detail` must hold no secret, and the identifier of an
    unknown user only as a hash.
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
