"""The verbs of a payment: open, prompt, settle, cancel, expire. The one place that writes a payment's status.

Money wins: a failed or expired payment becomes paid when its money turns out to have moved; money for a
cancelled or refunded one becomes member credit. Locks are always taken in the order member, payment, receipt.
"""

from payments.services.ending import cancel_payment, expire_due, turn_down
from payments.services.listeners import retry_listeners, tell_paid, tell_unpaid
from payments.services.locks import (
    PaymentNotFound,
    ReceiptNotFound,
    lock_companions,
    lock_members,
    lock_payment,
    lock_people_of,
    lock_receipt,
    members_to_lock,
)
from payments.services.losing import change_owner, give_back, reverse_receipt, reverse_receipt_locked, withdraw_money
from payments.services.opening import (
    IdempotencyKeyReused,
    InvalidAmount,
    ask_for_all,
    open_payment,
    opened_under,
    record_comp,
    spend_credit,
)
from payments.services.paying import take_money
from payments.services.prompting import note_prompt, note_prompt_ended
from payments.services.states import PROMPTABLE, InvalidTransition

__all__ = [
    "PROMPTABLE",
    "IdempotencyKeyReused",
    "InvalidAmount",
    "InvalidTransition",
    "PaymentNotFound",
    "ReceiptNotFound",
    "ask_for_all",
    "cancel_payment",
    "change_owner",
    "expire_due",
    "give_back",
    "lock_companions",
    "lock_members",
    "lock_payment",
    "lock_people_of",
    "lock_receipt",
    "members_to_lock",
    "note_prompt",
    "note_prompt_ended",
    "open_payment",
    "opened_under",
    "record_comp",
    "retry_listeners",
    "reverse_receipt",
    "reverse_receipt_locked",
    "spend_credit",
    "take_money",
    "tell_paid",
    "tell_unpaid",
    "turn_down",
    "withdraw_money",
]
