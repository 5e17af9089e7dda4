"""The Content-Security-Policy of pages."""

import pytest
from django.http import HttpResponse

from api.middleware import PrivacyHeadersMiddleware

OURS = (
    "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'self';"
    " form-action 'self'; frame-ancestors 'none'"
)


@pytest.mark.parametrize(
    ("path", "policy"),
    [
        ("/app/", OURS),
        ("/administer/", OURS),
        ("/admin/", OURS + "; script-src 'self' 'unsafe-eval'; style-src 'self' 'unsafe-inline'"),
        ("/admin/login/", OURS + "; script-src 'self' 'unsafe-eval'; style-src 'self' 'unsafe-inline'"),
    ],
)
def test_only_admin_pages_allow_eval_and_inline_styles(rf, path, policy):
    answer = PrivacyHeadersMiddleware(lambda request: HttpResponse("<p>"))(rf.get(path))

    assert answer["Content-Security-Policy"] == policy


@pytest.mark.parametrize("path", ["/healthz", "/api/v1/auth/csrf/", "/admin/login/"])
def test_no_answer_asks_for_the_browsers_xss_filter(client, path):
    answer = client.get(path)

    assert (answer.status_code, answer.has_header("X-XSS-Protection")) == (200, False)
