"""Callbacks and probes are answered under any host name and without HTTPS, and nothing else is."""

import pytest
from django.conf import settings
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from payments.models import Callback, Receipt
from payments.tests.bodies import c2b_body, stk_body
from payments.tests.factories import make_push

pytestmark = pytest.mark.django_db

HOSTS = ["forgotten.example", "10.0.0.7:8000", "*", "club.example:bad", "evil_\\host"]


@pytest.fixture(autouse=True)
def _as_in_production(settings):
    settings.ALLOWED_HOSTS, settings.SECURE_SSL_REDIRECT, settings.DEBUG = ["club.example"], True, False


def post(path, body, host):
    return Client().post(path, body, content_type="application/json", headers={"host": host})


@pytest.mark.parametrize("host", HOSTS)
def test_confirmation_is_stored_under_any_host_over_plain_http(host):
    path = reverse("payments:c2b-confirmation", args=[settings.C2B_SECRET])

    answer = post(path, c2b_body(amount=500, account="gym", moved_at=timezone.now()), host)

    assert (answer.status_code, answer.json()) == (200, {"ResultCode": 0, "ResultDesc": "Accepted"})
    assert Receipt.objects.get().amount == 500


@pytest.mark.parametrize("host", HOSTS)
def test_stk_callback_is_stored_under_any_host_over_plain_http(host):
    push = make_push()

    answer = post(reverse("payments:stk-callback", args=[push.raw_token]), stk_body(push), host)

    assert (answer.status_code, Callback.objects.get().outcome) == (200, "applied")


def test_other_callbacks_are_answered_under_any_host():
    paths = [
        reverse("payments:c2b-validation", args=[settings.C2B_SECRET]),
        reverse("payments:code-check-result", args=["unknown"]),
        reverse("payments:code-check-timeout", args=["unknown"]),
        reverse("payments:c2b-confirmation", args=["unknown"]),
        "/api/v1/callbacks/nothing/",
    ]

    assert [post(path, b"{}", "forgotten.example").status_code for path in paths] == [200, 404, 404, 404, 404]


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_probes_are_answered_by_address_over_plain_http(path):
    assert Client().get(path, headers={"host": "10.0.0.7:8000"}).status_code == 200


@pytest.mark.parametrize(
    "path", ["/api/v1/plans/", "/api/v1/callbacks", "/admin/login/", "/x/api/v1/callbacks/", "/healthz/", "/readyz2"]
)
def test_every_other_path_checks_its_host_and_redirects_to_https(path):
    assert Client().get(path, headers={"host": "forgotten.example"}).status_code == 400
    redirected = Client().get(path, headers={"host": "club.example"})
    assert (redirected.status_code, redirected["Location"]) == (301, f"https://club.example{path}")
