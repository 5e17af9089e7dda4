"""The life of a prompt: asked for, claimed by a worker, sent, ended. The one place that writes a push's status.

Claiming, calling and recording are separate commits. Whoever claims a push alone calls Safaricom, so a job that runs
twice, or on two workers, sends one prompt; a call whose outcome is unknown is never made again.
"""

from payments.pushes.asking import AmountOverLimit, PushOpen, PushTooSoon, defer_send, request_push
from payments.pushes.checking import (
    NAMELESS_WAIT,
    doubt,
    lose_track,
    next_check,
    note_check,
    postpone_check,
    take_names,
)
from payments.pushes.ending import close_unknown, drop, end
from payments.pushes.rows import asked_at
from payments.pushes.sending import LATEST_SEND, send

__all__ = [
    "LATEST_SEND",
    "NAMELESS_WAIT",
    "AmountOverLimit",
    "PushOpen",
    "PushTooSoon",
    "asked_at",
    "close_unknown",
    "defer_send",
    "doubt",
    "drop",
    "end",
    "lose_track",
    "next_check",
    "note_check",
    "postpone_check",
    "request_push",
    "send",
    "take_names",
]
