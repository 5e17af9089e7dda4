"""The ledger: double-entry postings in whole Kenyan shillings. Entries are never changed or deleted."""

import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from django.db import connection
from django.db.models import Sum

from payments.models import Account, CashSession, Channel, LedgerEntry

# The account that holds the money of each channel.
ACCOUNT_OF: dict[str, Account] = {
    Channel.MPESA_STK: Account.MPESA,
    Channel.MPESA_C2B: Account.MPESA,
    Channel.CASH: Account.CASH,
    Channel.BANK: Account.BANK,
    Channel.OPENING: Account.OPENING,
}

INSERT = (
    "INSERT INTO payments_ledgerentry"
    " (transaction, account, member_id, amount, receipt_id, payment_id, made_by_id, at) VALUES "
)
ROW = "(%s, %s, %s, %s, %s, %s, %s, %s)"


@dataclass(frozen=True, slots=True)
class Leg:
    """One side of a posting. `amount` is whole KES: a debit is positive, a credit negative."""

    account: Account
    amount: int
    member_id: int | None = None
    payment_id: int | None = None


def post(*, receipt_id: int, legs: Iterable[Leg], by_id: int | None, at: datetime) -> None:
    """Write one posting. Legs of 0 are left out; without other legs no posting is written.

    :raises IntegrityError: at commit, if the legs do not sum to zero
    """
    legs = [leg for leg in legs if leg.amount]
    if not legs:
        return
    with connection.cursor() as cursor:
        cursor.execute(*insert_statement(receipt_id=receipt_id, legs=legs, by_id=by_id, at=at))


def post_drawer_difference(session: CashSession, *, at: datetime) -> None:
    """Post how much a closed drawer was over or short, so that the cash account holds the counted cash."""
    difference = session.difference
    if not difference:
        return
    posting = uuid.uuid4()
    LedgerEntry.objects.bulk_create(
        LedgerEntry(
            transaction=posting,
            account=account,
            amount=amount,
            cash_session=session,
            made_by_id=session.cashier_id,
            at=at,
        )
        for account, amount in ((Account.CASH, difference), (Account.OVER_SHORT, -difference))
    )


def insert_statement(*, receipt_id: int, legs: Iterable[Leg], by_id: int | None, at: datetime) -> tuple[str, list]:
    """Return the SQL statement for one posting, and its parameters, for callers that combine it with other writes."""
    transaction = uuid.uuid4()
    rows = [
        (transaction, leg.account, leg.member_id, leg.amount, receipt_id, leg.payment_id, by_id, at)
        for leg in legs
        if leg.amount
    ]
    return INSERT + ", ".join([ROW] * len(rows)), [value for row in rows for value in row]


def unspent_account(member_id: int | None) -> Account:
    """Return the account for unspent money: the member's credit, or unmatched money without a member."""
    return Account.UNMATCHED if member_id is None else Account.MEMBER_CREDIT


def balance(account: Account, *, member_id: int | None = None) -> int:
    """Return an account's balance in whole KES (debit positive), of one member if given."""
    entries = LedgerEntry.objects.filter(account=account)
    if member_id is not None:
        entries = entries.filter(member_id=member_id)
    return entries.aggregate(total=Sum("amount", default=0))["total"]
