"""Where the reference application is served, and where it is not."""

import importlib
import re
from pathlib import Path

import pytest
import yaml
from django.urls import clear_url_caches

from config import urls
from config.dev import reference_app

# types.d.ts is for editors and `make spa`; no browser asks for it.
SOURCES = sorted(file for file in reference_app.FILES.rglob("*.*") if not file.name.endswith(".d.ts"))


@pytest.fixture
def simulated(settings):
    settings.SIMULATED, settings.DARAJA_SIMULATOR_URL = True, "http://127.0.0.1:8099"


@pytest.fixture
def fetch(client, db):
    """Get an address and let go of the file behind it; the end of a request looks at the connection."""

    def get(path):
        answer = client.get(path)
        answer.bytes = answer.getvalue()
        answer.close()
        return answer

    return get


def test_the_page_may_frame_the_simulators_phone_and_nothing_else(fetch, simulated):
    answer = fetch("/")

    assert answer.status_code == 200
    assert answer["Content-Security-Policy"] == (
        "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'self'; form-action 'self';"
        " frame-ancestors 'none'; frame-src http://127.0.0.1:8099"
    )
    assert fetch("/phone.json").json() == {"phone": "http://127.0.0.1:8099/phone/"}


def test_without_the_simulator_there_is_no_phone_and_no_frame(fetch, settings):
    settings.SIMULATED = False

    assert "frame-src" not in fetch("/")["Content-Security-Policy"]
    assert fetch("/phone.json").json() == {"phone": None}


@pytest.mark.parametrize("file", SOURCES, ids=lambda file: file.name)
def test_every_file_is_served_and_never_from_a_stale_cache(fetch, file: Path):
    answer = fetch("/" + str(file.relative_to(reference_app.FILES)).removesuffix("index.html"))

    assert answer.status_code == 200
    assert answer.bytes == file.read_bytes()
    assert "no-store" in answer["Cache-Control"]


@pytest.mark.parametrize(
    "path", ["/../settings.py", "/pages/", "/types.d.ts", "/api.py", "/brief.md", "/pages/../../api.md"]
)
def test_nothing_else_is_served(fetch, path):
    assert fetch(path).status_code == 404


def test_in_production_it_is_not_there(fetch, settings):
    settings.PRODUCTION = True
    try:
        importlib.reload(urls)
        clear_url_caches()

        assert fetch("/").status_code == 404
        assert fetch("/app.js").status_code == 404
    finally:
        settings.PRODUCTION = False
        importlib.reload(urls)
        clear_url_caches()


@pytest.mark.parametrize("file", SOURCES, ids=lambda file: file.name)
def test_no_file_needs_more_than_the_strict_policy_allows(file: Path):
    text = file.read_text()

    assert not re.search(
        r"\bon\w+=|style=|<style|javascript:|innerHTML|insertAdjacentHTML|\beval\(|https?://(?!www\.w3)", text
    )


CALL = re.compile(
    r"""\b(?:call|answer)\("(?P<method>[A-Z]+)", [`"](?P<path>[^`"]+)[`"]|\bask\([`"](?P<asked>[^`"]+)[`"]"""
)


def test_it_calls_only_what_the_schema_describes():
    schema = yaml.safe_load((reference_app.FILES.parent / "openapi.yaml").read_text())
    described = {
        (method.upper(), re.sub(r"\{\w+\}", "X", path).removeprefix("/api/v1/"))
        for path, methods in schema["paths"].items()
        for method in methods
    }
    text = "".join(file.read_text() for file in SOURCES if file.suffix == ".js")

    called = {
        (found["method"] or "POST", re.sub(r"\$\{[^}]+\}", "X", found["path"] or found["asked"]))
        for found in CALL.finditer(text)
    }

    assert len(called) > 15
    assert called - described == set()
