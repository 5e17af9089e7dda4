"""Failpoints kill the process in tests, and do nothing elsewhere."""

import signal

import pytest

from payments import failpoints


@pytest.fixture
def killed(monkeypatch):
    signals = []
    monkeypatch.setattr(failpoints.os, "kill", lambda pid, number: signals.append(number))
    return signals


def test_failpoint_kills_the_process_at_the_named_place(killed, settings):
    settings.FAILPOINT = "push claimed"

    failpoints.reach("push answered")
    failpoints.reach("push claimed")

    assert killed == [signal.SIGKILL]


def test_failpoint_does_nothing_outside_tests(killed, settings):
    settings.FAILPOINT, settings.TESTING = "push claimed", False

    failpoints.reach("push claimed")

    assert killed == []
