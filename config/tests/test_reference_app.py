"""The reference application: its files, its policy and its calls of the API."""

import importlib
import re
from pathlib import Path

import pytest
import yaml
from django.urls import clear_url_caches

from config import urls
from config.dev import reference_app

# types.d.ts is for editors and `make spa`, and is not served.
SOURCES = sorted(file for file in reference_app.FILES.rglob("*.*") if not file.name.endswith(".d.ts"))


@pytest.fixture
def simulated(settings):
    settings.SIMULATED, settings.DARAJA_SIMULATOR_URL = True, "http://127.0.0.1:8099"


@pytest.fixture
def fetch(client, db):
    """Return a function that fetches a URL and closes its file."""

    def get(path):
        answer = client.get(path)
        answer.bytes = answer.getvalue()
        answer.close()
        return answer

    return get


def test_page_may_frame_only_the_phone_of_the_simulator(fetch, simulated):
    answer = fetch("/")

    assert answer.status_code == 200
    assert answer["Content-Security-Policy"] == (
        "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'self'; form-action 'self';"
        " frame-ancestors 'none'; frame-src http://127.0.0.1:8099"
    )
    assert fetch("/phone.json").json() == {"phone": "http://127.0.0.1:8099/phone/"}


def test_page_has_no_phone_without_the_simulator(fetch, settings):
    settings.SIMULATED = False

    assert "frame-src" not in fetch("/")["Content-Security-Policy"]
    assert fetch("/phone.json").json() == {"phone": None}


@pytest.mark.parametrize("file", SOURCES, ids=lambda file: file.name)
def test_every_file_is_served_without_caching(fetch, file: Path):
    answer = fetch("/" + str(file.relative_to(reference_app.FILES)).removesuffix("index.html"))

    assert answer.status_code == 200
    assert answer.bytes == file.read_bytes()
    assert "no-store" in answer["Cache-Control"]


@pytest.mark.parametrize(
    "path", ["/../settings.py", "/pages/", "/types.d.ts", "/api.py", "/brief.md", "/pages/../../api.md"]
)
def test_other_paths_are_not_found(fetch, path):
    assert fetch(path).status_code == 404


def test_application_is_not_served_in_production(fetch, settings):
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
def test_files_comply_with_the_strict_policy(file: Path):
    text = file.read_text()

    assert not re.search(
        r"\bon\w+=|style=|<style|javascript:|innerHTML|insertAdjacentHTML|\beval\(|https?://(?!www\.w3)", text
    )


CALL = re.compile(
    r"""\b(?:call|answer)\("(?P<method>[A-Z]+)", [`"](?P<path>[^`"]+)[`"]|\bask\([`"](?P<asked>[^`"]+)[`"]"""
)


def test_application_calls_only_described_operations():
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
