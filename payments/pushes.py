"""The life of a prompt. The one place that writes a push's status."""

from datetime import datetime

from payments.models import PushStatus, StkPush


def end(push: StkPush, *, status: PushStatus, result_code: str, result_desc: str, now: datetime) -> None:
    """Write how a locked push ended; it is not asked about again."""
    push.status, push.result_code, push.result_desc = status, result_code, result_desc[:255]
    push.ended_at, push.next_check_at = now, None
    push.save(update_fields=["status", "result_code", "result_desc", "ended_at", "next_check_at"])
