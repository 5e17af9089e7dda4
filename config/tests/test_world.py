"""The simulated club (`make world`): a short run keeps every promise, and planted faults are found."""

import pytest

from payments.callbacks import inbox
from payments.models import Receipt
from payments.services import credit
from subscriptions.services import renewals
from world import checks, simulation

pytestmark = [pytest.mark.django_db, pytest.mark.server]


def play(journeys):
    world = simulation.World(seed=1, members=20)
    world.play(journeys)
    return world


@pytest.mark.usefixtures("free_apply_slots")
def test_short_run_keeps_every_promise():
    world = play(200)

    assert {"orders", "payments", "taps"} <= {name for name, count in world.counts.items() if count}
    assert Receipt.objects.count() == len(world.book.money)


# Each fault takes one rule away. The number of journeys is what finding it needs, and a little more.
FAULTS = {
    "the gate renews nothing": (renewals, "renew_at_gate", lambda **kwargs: None),
    "every confirmation is lost": (inbox, "_store", lambda *args, **kwargs: None),
    "the gate sees no credit": (credit, "available", lambda member_id: 0),
}


@pytest.mark.long
@pytest.mark.breaks_the_books
@pytest.mark.usefixtures("free_apply_slots")
@pytest.mark.parametrize("fault", FAULTS)
def test_planted_fault_is_found(fault, monkeypatch):
    monkeypatch.setattr(*FAULTS[fault])

    with pytest.raises(checks.BrokenPromise):
        play(1000)
