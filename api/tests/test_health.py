"""Health probes."""

import tomllib

import pytest
from django.conf import settings
from django.test import Client

from api import health


def test_healthz_shows_the_version_of_pyproject():
    project = tomllib.loads((settings.BASE_DIR / "pyproject.toml").read_text())["project"]

    answer = Client().get("/healthz")

    assert (answer.status_code, answer.json()) == (200, {"status": "ok", "version": project["version"]})


def test_healthz_reads_no_file(monkeypatch):
    client = Client()
    client.get("/healthz")  # builds the middleware
    monkeypatch.setattr("io.open", None)
    monkeypatch.setattr("builtins.open", None)

    answer = client.get("/healthz")

    assert answer.status_code == 200


@pytest.mark.django_db
def test_readyz_shows_checks_and_details_without_a_version(monkeypatch):
    monkeypatch.setattr(health, "DETAILS", {"disk": lambda: {"free": 1}})

    answer = Client().get("/readyz")

    checks = {"database": True, "migrations": True, "worker": False}
    assert (answer.status_code, answer.json()) == (200, {"status": "ok", "checks": checks, "disk": {"free": 1}})
