"""The promises that the world checks, against its own book and with the product's invariants."""

from collections.abc import Iterable

from django.db import connection

from payments.invariants import INVARIANTS as OF_PAYMENTS
from payments.models import Allocation, Receipt, ReviewItem, ReviewStatus
from subscriptions.invariants import INVARIANTS as OF_SUBSCRIPTIONS
from subscriptions.models import Subscription
from world.book import Book, Money


class BrokenPromise(AssertionError):
    """The product has broken a promise."""


def money_is_in_the_books(money: Iterable[Money]) -> None:
    """Check that each reported money has one receipt, with its owner or in the list for staff; other money has none.

    :raises BrokenPromise: it is lost, counted twice, or belongs to somebody else
    """
    by_code = {each.code: each for each in money}
    receipts: dict[str, list[Receipt]] = {code: [] for code in by_code}
    for receipt in Receipt.objects.filter(code__in=by_code):
        receipts[receipt.code].append(receipt)
    for code, each in by_code.items():
        found = receipts[code]
        if [receipt.amount for receipt in found] != [each.amount] * bool(each.reports):
            raise BrokenPromise(f"{each} has the receipts {found}, not one of the same amount")
        if not each.reports:
            continue
        [receipt] = found
        if receipt.member_id is None:
            is_listed = ReviewItem.objects.filter(receipt=receipt, status=ReviewStatus.OPEN).exists()
            if each.names_owner or not is_listed:
                raise BrokenPromise(f"{each} has no owner")
        elif each.names_owner and receipt.member_id != each.meant_for:
            raise BrokenPromise(f"{each} belongs to member {receipt.member_id}")


def access_is_paid(period: Subscription, book: Book) -> None:
    """Check that money of the book has paid the period that opened the gate.

    :raises BrokenPromise: access without payment
    """
    live = Allocation.objects.filter(payment=period.payment_id, undone_at=None).select_related("receipt")
    paid = sum(each.amount for each in live if each.receipt.code in book.money)
    if paid < period.payment.deposit:
        raise BrokenPromise(f"The period {period.pk} opened the gate, but only KES {paid} was paid for it")


def invariants_hold() -> None:
    """Run the SQL invariants of `manage.py audit_books` that hold at every moment.

    :raises BrokenPromise: one is broken
    """
    with connection.cursor() as cursor:
        for each in (*OF_PAYMENTS, *OF_SUBSCRIPTIONS):
            if each.quiet:
                continue
            cursor.execute(each.sql)
            if rows := cursor.fetchall():
                raise BrokenPromise(f"{each.code}: {each.promise} {rows[:5]}")
