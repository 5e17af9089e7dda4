import signal

import pytest

from payments import failpoints


@pytest.fixture
def killed(monkeypatch):
    signals = []
    monkeypatch.setattr(failpoints.os, "kill", lambda pid, number: signals.append(number))
    return signals


def test_a_failpoint_kills_where_a_test_asked_for_it(killed, settings):
    settings.FAILPOINT = "push claimed"

    failpoints.reach("push answered")
    failpoints.reach("push claimed")

    assert killed == [signal.SIGKILL]


def test_outside_tests_a_failpoint_does_nothing_whatever_is_set(killed, settings):
    settings.FAILPOINT, settings.TESTING = "push claimed", False

    failpoints.reach("push claimed")

    assert killed == []
