"""The command replay_callback."""

from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.urls import reverse

from payments.models import Callback, Payment
from payments.services import settlement
from payments.tests.bodies import stk_body
from payments.tests.factories import make_push

pytestmark = pytest.mark.django_db


def replay(*ids):
    out = StringIO()
    call_command("replay_callback", *map(str, ids), stdout=out, stderr=out)
    return out.getvalue()


@pytest.fixture
def failed(client, monkeypatch):
    """A callback that could not be applied when it arrived."""
    push = make_push()
    with monkeypatch.context() as patched:
        patched.setattr(settlement, "apply_money", lambda **kwargs: 1 / 0)
        url = reverse("payments:stk-callback", args=[push.raw_token])
        client.post(url, stk_body(push), content_type="application/json")
    return Callback.objects.get()


@pytest.mark.parametrize("outcome", ["new", "review", "rejected"])
def test_replayed_callback_is_applied_once(failed, outcome):
    Callback.objects.update(outcome=outcome)

    assert [replay(failed.pk), replay(failed.pk)] == [f"{failed.pk}: applied\n"] * 2
    assert Payment.objects.get().status == "paid"


def test_failed_replay_leaves_the_callback_unchanged(failed, monkeypatch):
    Callback.objects.update(outcome="review")
    monkeypatch.setattr(settlement, "apply_money", lambda **kwargs: 1 / 0)

    with pytest.raises(CommandError, match="1 of 1 could not be applied"):
        replay(failed.pk)

    assert Callback.objects.get().outcome == "review"


def test_unknown_callback_id_is_reported():
    with pytest.raises(CommandError, match="There is no callback 0"):
        replay(0)
