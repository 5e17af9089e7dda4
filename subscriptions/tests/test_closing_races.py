"""The club closes while periods are being granted, with real threads on PostgreSQL."""

import threading

import pytest
from django.db import connection, transaction

from subscriptions import services
from subscriptions.tests.factories import NOON, MemberFactory, granted, noon_on, pay, pending
from subscriptions.tests.test_freezing import day, spans

pytestmark = pytest.mark.django_db(transaction=True)


def close(by_id):
    services.close_club(starts_on=day(10), ends_on=day(20), reason="Repairs", by_id=by_id, now=NOON)


def in_thread(call):
    """Start the call in a thread with a connection of its own."""

    def run():
        try:
            call()
        finally:
            connection.close()

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def test_a_period_granted_while_the_club_is_being_closed_gets_the_days_too():
    staff, bought = MemberFactory(), pending()

    with transaction.atomic():
        pay(bought.payment, at=noon_on(day(0)))  # laid out without the closure, and not committed yet
        closing = in_thread(lambda: close(staff.pk))
        closing.join(timeout=0.5)
        assert closing.is_alive()
    closing.join(timeout=10)

    assert spans(bought)[0][1:] == (day(30), day(40))


def test_a_period_granted_before_the_closing_is_committed_waits_and_gets_the_days():
    staff, bought, running = MemberFactory(), pending(), granted()

    with transaction.atomic():
        close(staff.pk)
        paying = in_thread(lambda: pay(bought.payment, at=noon_on(day(0))))
        paying.join(timeout=0.5)
        assert paying.is_alive()
    paying.join(timeout=10)

    assert [span[1:] for span in spans(bought, running)] == [(day(30), day(40))] * 2
