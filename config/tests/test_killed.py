"""Jobs that are killed before any statement or around any commit: recovery within two minutes, without loss."""

import itertools
import os
import signal
import time
from datetime import timedelta
from functools import partial

import pytest
from django.conf import settings
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from procrastinate.contrib.django.models import ProcrastinateJob

from api.idempotency import IdempotencyKey
from config.tests.killing import preload, run
from payments import recovery
from payments.callbacks import inbox, spool
from payments.daraja import client
from payments.daraja.messages import PushAccepted, StkResult
from payments.desk import cash_sessions, desk_receipts, review_decisions
from payments.models import Callback, Payment, PushStatus, Receipt, ReviewItem, StkPush
from payments.pushes import sending
from payments.services import cancellation
from payments.tests.bodies import c2b_body, stk_body
from payments.tests.factories import MemberFactory, create_payment, make_push
from payments.tests.invariants import broken_invariants
from subscriptions.models import Subscription
from subscriptions.services.purchases import subscribe
from subscriptions.tests.factories import MemberFactory as ConsentingFactory
from subscriptions.tests.factories import PlanFactory, pending

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True), pytest.mark.server]
preload([__name__])

TWO_MINUTES = timedelta(minutes=2)


@pytest.fixture(autouse=True)
def _state(settings, tmp_path):
    settings.STATE_DIR, settings.CLUB_CLOCK_FILE = tmp_path, None


def killed_everywhere(prepare):
    """Kill a job at its first place, its second, and so on until it finishes. Recover and check after each.

    `prepare` receives the number of the place, and returns the job and a function that recovers and checks.
    """
    for place in itertools.count():
        job, recover_and_check = prepare(place)
        finished = run(job, killed_at=place)
        recover_and_check()
        if finished:
            break
    assert place > 3  # the job used the database
    assert broken_invariants() == {}


def code(place):
    return f"TKN{place:07d}"


# --- Jobs, which run in the process that is killed ----------------------------------------------------


def deliver(path, body):
    assert Client().post(path, body, content_type="application/json").status_code == 200


def deliver_and_die(path, body):
    deliver(path, body)
    time.sleep(0.005)
    os.kill(os.getpid(), signal.SIGKILL)


def buy(member_id, plan_code, phone):
    return subscribe(
        member_ids=[member_id],
        plan_code=plan_code,
        payer_id=member_id,
        phone=phone,
        created_by_id=member_id,
        now=timezone.now(),
        idempotency_key=IdempotencyKey("once", "a"),
    )


def send(push_id, phone_screen):
    """Send a push. This Safaricom writes the callback URL into the file `phone_screen`."""

    def push_stk(*, callback_url, **fields):
        with phone_screen.open("a") as screen:
            screen.write(callback_url + "\n")
        return PushAccepted(f"29115-{push_id}", f"ws_CO_{push_id}")

    client.push_stk = push_stk
    sending.send(push_id=push_id, now=timezone.now())


def query_safaricom(seconds):
    """Query the open pushes. This Safaricom answers that each is paid."""
    names = dict(StkPush.objects.values_list("checkout_request_id", "merchant_request_id"))
    client.query_stk = lambda *, checkout_request_id, now: StkResult(
        names[checkout_request_id], checkout_request_id, "0", ""
    )
    recovery.query_due_pushes(now=timezone.now() + timedelta(seconds=seconds))


def drain():
    inbox.drain_spool(now=timezone.now())


# --- Checks -------------------------------------------------------------------------------------------


def recover(monkeypatch):
    """Run the periodic jobs of the next two minutes."""
    monkeypatch.setattr(client, "query_stk", client.query_stk)  # so that it is restored at the end
    later = timezone.now() + TWO_MINUTES
    recovery.mark_lost_calls_unknown(now=later)
    inbox.drain_spool(now=later)
    inbox.apply_waiting(now=later)
    query_safaricom(seconds=150)


def require_paid_once(push, **receipt):
    push.refresh_from_db()
    receipt = Receipt.objects.get(push=push, **receipt)
    assert (push.status, receipt.amount, receipt.allocations.get().payment) == ("succeeded", push.amount, push.payment)
    assert Subscription.objects.get(payment=push.payment).fact == "granted"


def sold_push(plan):
    """Return an open push of a member who bought a period."""
    now = timezone.now()
    return make_push(pending(plan, now=now).payment, sent_at=now)


def test_killed_purchase_is_complete_or_absent():
    plan = PlanFactory()

    def prepare(place):
        member = ConsentingFactory()

        def recover_and_check():
            waiting = ProcrastinateJob.objects.filter(task_name="payments.send_push")
            for again in range(2):
                counts = [
                    Payment.objects.filter(payer=member).count(),
                    Subscription.objects.filter(member=member).count(),
                    StkPush.objects.filter(payment__payer=member).count(),
                    waiting.filter(
                        args__push_id__in=list(
                            StkPush.objects.filter(payment__payer=member).values_list("pk", flat=True)
                        )
                    ).count(),
                ]
                assert counts in ([[0] * 4, [1] * 4] if not again else [[1] * 4])
                buy(member.pk, plan.code, member.phone_number)  # the app sends the request again with its key

        return partial(buy, member.pk, plan.code, member.phone_number), recover_and_check

    killed_everywhere(prepare)


def test_killed_push_reaches_the_phone_at_most_once(tmp_path, monkeypatch):
    plan = PlanFactory()
    monkeypatch.setattr(client, "push_stk", client.push_stk)

    def prepare(place):
        member, screen = ConsentingFactory(), tmp_path / f"phone-{place}"
        screen.touch()
        buy(member.pk, plan.code, member.phone_number)
        push = StkPush.objects.get(payment__payer=member)

        def recover_and_check():
            send(push.pk, screen)  # the job runs again
            recovery.mark_lost_calls_unknown(now=timezone.now() + TWO_MINUTES)
            push.refresh_from_db()
            shown = screen.read_text().splitlines()
            if not shown:  # killed between the claim and the call: the outcome is unknown, so the push is not repeated
                assert push.status == PushStatus.UNKNOWN
                return
            [url] = shown
            body = stk_body(push, code=code(place), CheckoutRequestID=f"ws_CO_{push.pk}")
            deliver(url.removeprefix(settings.PUBLIC_URL), body)
            require_paid_once(push)

        return partial(send, push.pk, screen), recover_and_check

    killed_everywhere(prepare)


def test_killed_callback_pays_once_and_gives_access(monkeypatch):
    plan = PlanFactory()

    def prepare(place):
        push = sold_push(plan)
        url, body = reverse("payments:stk-callback", args=[push.raw_token]), stk_body(push, code=code(place))

        def recover_and_check():
            is_stored = Callback.objects.filter(push=push).exists()
            recover(monkeypatch)
            require_paid_once(push, code=code(place) if is_stored else None)  # a query has no code
            deliver(url, body)  # a repeated callback
            require_paid_once(push, code=code(place))

        return partial(deliver, url, body), recover_and_check

    killed_everywhere(prepare)


def test_answered_callback_survives_a_kill_after_five_milliseconds():
    push = sold_push(PlanFactory())
    url = reverse("payments:stk-callback", args=[push.raw_token])

    finished = run(partial(deliver_and_die, url, stk_body(push)), killed_at=1000)

    assert not finished
    assert bytes(Callback.objects.get().body) == stk_body(push)
    require_paid_once(push)


def test_killed_drain_of_the_spool_pays_once(monkeypatch):
    plan = PlanFactory()

    def prepare(place):
        push, now = sold_push(plan), timezone.now()
        spool.append(spool.Message("stk", stk_body(push, code=code(place)), {}, None, now, push.token_hash))

        def recover_and_check():
            recover(monkeypatch)
            require_paid_once(push, code=code(place))
            assert list(spool.stored_messages()) == []

        return drain, recover_and_check

    killed_everywhere(prepare)


def test_killed_query_pays_once(monkeypatch):
    plan = PlanFactory()

    def prepare(place):
        push = sold_push(plan)

        def recover_and_check():
            recover(monkeypatch)
            require_paid_once(push)

        return partial(query_safaricom, seconds=25), recover_and_check

    killed_everywhere(prepare)


def test_killed_paybill_confirmation_counts_once():
    """Without an answer 200, Safaricom or a reported code reports the money again."""
    path = reverse("payments:c2b-confirmation", args=[settings.C2B_SECRET])
    plan = PlanFactory()

    def prepare(place):
        payment, now = pending(plan, now=timezone.now()).payment, timezone.now()
        body = c2b_body(amount=2000, account=payment.reference, code=code(place), moved_at=now)

        def recover_and_check():
            inbox.apply_waiting(now=timezone.now() + TWO_MINUTES)
            deliver(path, body)
            receipt = Receipt.objects.get(code=code(place))
            assert receipt.allocations.get().amount == 1500
            assert Subscription.objects.get(payment=payment).fact == "granted"

        return partial(deliver, path, body), recover_and_check

    killed_everywhere(prepare)


def test_killed_cash_receipt_is_complete_or_absent():
    cashier = MemberFactory()
    cash_sessions.open_session(cashier_id=cashier.pk, opening_float=0, now=timezone.now())

    def prepare(place):
        payment = create_payment(now=timezone.now())
        job = partial(take_cash, payment.pk, cashier.pk, f"key {place}")

        def recover_and_check():
            assert Receipt.objects.filter(allocations__payment=payment).count() in (0, 1)
            assert job().allocations.get().payment == payment  # sent again with its key

        return job, recover_and_check

    killed_everywhere(prepare)


def take_cash(payment_id, by_id, key):
    now = timezone.now()
    return desk_receipts.record_receipt(
        channel="cash",
        amount=1500,
        payment_id=payment_id,
        by_id=by_id,
        now=now,
        idempotency_key=IdempotencyKey(key, "a"),
    )


def test_killed_assignment_is_complete_or_absent():
    manager, path = MemberFactory(), reverse("payments:c2b-confirmation", args=[settings.C2B_SECRET])

    def prepare(place):
        payment = create_payment(now=timezone.now())
        deliver(path, c2b_body(amount=1500, account="gym", code=code(place), moved_at=timezone.now(), sender=""))
        item = ReviewItem.objects.get(receipt__code=code(place))

        def recover_and_check():
            has_owner = Receipt.objects.get(code=code(place)).member_id is not None
            item.refresh_from_db()
            payment.refresh_from_db()
            assert has_owner == (item.status == "resolved") == (payment.status == "paid")

        assign = partial(review_decisions.assign_money, item_id=item.pk, payment_id=payment.pk, by_id=manager.pk)
        return partial(assign, now=timezone.now()), recover_and_check

    killed_everywhere(prepare)


def test_killed_expiry_is_complete_or_absent():
    def prepare(place):
        payment = create_payment(now=timezone.now() - timedelta(days=30))

        def recover_and_check():
            cancellation.expire_due(now=timezone.now())
            payment.refresh_from_db()
            assert [payment.status, payment.events.last().to_status] == ["expired"] * 2

        return partial(cancellation.expire_due, now=timezone.now()), recover_and_check

    killed_everywhere(prepare)
