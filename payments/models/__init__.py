"""The models of payments: payments, STK pushes, callbacks, receipts, allocations, the ledger and review items.

All money is whole Kenyan shillings (KES) in integers. Only payments.services writes a payment's status, and only
payments.pushes a push's.
"""

from payments.daraja.models import DarajaGate, DarajaToken
from payments.models.callbacks import Callback, CallbackOutcome, CallbackSource
from payments.models.codes import OPEN_CHECK, CodeCheck, CodeCheckStatus, CodeClaim
from payments.models.desk import CashSession, ReceiptCounter, Refund, VoidRequest
from payments.models.ledger import Account, LedgerEntry
from payments.models.payments import Payment, PaymentEvent, PaymentStatus
from payments.models.pushes import OPEN_PUSH, PushStatus, StkPush
from payments.models.receipts import Allocation, AllocationRule, Channel, Receipt, TaxNumber
from payments.models.reviews import ReviewItem, ReviewReason, ReviewStatus

__all__ = [
    "OPEN_CHECK",
    "OPEN_PUSH",
    "Account",
    "Allocation",
    "AllocationRule",
    "Callback",
    "CallbackOutcome",
    "CallbackSource",
    "CashSession",
    "Channel",
    "CodeCheck",
    "CodeCheckStatus",
    "CodeClaim",
    "DarajaGate",
    "DarajaToken",
    "LedgerEntry",
    "Payment",
    "PaymentEvent",
    "PaymentStatus",
    "PushStatus",
    "Receipt",
    "ReceiptCounter",
    "Refund",
    "ReviewItem",
    "ReviewReason",
    "ReviewStatus",
    "StkPush",
    "TaxNumber",
    "VoidRequest",
]
