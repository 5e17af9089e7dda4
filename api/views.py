"""Views that belong to no other app: error pages, unknown URLs, the OpenAPI document, uploads in development."""

import logging
import re
from functools import cache

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.cache import add_never_cache_headers
from django.views.decorators.csrf import csrf_exempt
from django.views.static import serve
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.utils import extend_schema
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView
from rest_framework.permissions import AllowAny
from rest_framework.renderers import BaseRenderer

from api.authentication import own_origin
from api.exceptions import plain_answer
from api.generics import StrictView

logger = logging.getLogger("api.csrf")
SECRET_FIELD = re.compile("password[0-9]?$")

MESSAGES = {
    400: ("bad_request", "The request is not valid."),
    403: ("permission_denied", "You may not do this."),
    404: ("not_found", "Not found."),
    500: ("server_error", "Something went wrong on our side. Please try again later."),
}


def answer(request: HttpRequest, status: int) -> HttpResponse:
    """Answer an error: with the envelope under /api/, with an HTML page elsewhere."""
    code, message = MESSAGES[status]
    if request.path.startswith("/api/"):
        return plain_answer(status, code, message)
    return render(request, "error.html", {"status": status, "message": message}, status=status)


def bad_request(request, exception):
    return answer(request, 400)


def permission_denied(request, exception):
    return answer(request, 403)


def not_found(request, exception):
    return answer(request, 404)


@csrf_exempt
def unknown_url(request):
    """Answer 404 in the envelope for any unknown URL under /api/.

    As a view it also works in development, where Django would show a debug page. It also keeps CommonMiddleware from
    redirecting to the URL with a slash, which would lose the body of a POST.
    """
    response = plain_answer(404, "not_found", "There is no such URL. Every URL of the API ends with a slash.")
    # The mark of django.utils.log.log_response, so that Django does not log the path of a callback, which is secret.
    response._has_been_logged = "/callbacks/" in request.path
    return response


def server_error(request):
    return answer(request, 500)


def csrf_failure(request, reason=""):
    """Answer a failed CSRF check of Django's middleware."""
    logger.warning("CSRF check failed: %s", reason)
    if request.path.startswith("/api/"):
        return plain_answer(403, "csrf_failed", "The CSRF check failed. Fetch a new CSRF token and try again.")
    if request.headers.get("Origin") == own_origin(request):
        return outdated_form(request)
    return answer(request, 403)


def outdated_form(request) -> HttpResponse:
    """Answer a form that was sent from an outdated page of ours: nothing was saved, and the user may send it again.

    The answer keeps what was typed, except passwords and files. Only for a form of our own pages: for one of another
    site, the button would send what that site wrote.
    """
    kept = [
        (name, value)
        for name, values in request.POST.lists()
        for value in values
        if name != "csrfmiddlewaretoken" and not SECRET_FIELD.search(name)
    ]
    shown = [
        (name.replace("_", " ").capitalize(), value)
        for name, value in kept
        if value and not name.startswith(("_", "initial-")) and name != "key"
    ]
    page = {
        "kept": kept,
        "shown": shown,
        "is_logged_in": request.user.is_authenticated,
        "is_complete": len(kept) + 1 == sum(map(len, dict(request.POST.lists()).values())) and not request.FILES,
    }
    response = render(request, "api/outdated_form.html", page, status=403)
    add_never_cache_headers(response)
    return response


class SchemaView(StrictView, SpectacularAPIView):
    """The OpenAPI document, in YAML or JSON. It is built once, because building it takes as long as dozens of calls."""

    permission_classes = [AllowAny]
    authentication_classes: list = []  # a cookie that is no longer valid must not close a public page

    @extend_schema(exclude=True)
    def get(self, request, *args, **kwargs):
        renderer = type(request.accepted_renderer)
        return HttpResponse(document(renderer), content_type=f"{renderer.media_type}; charset=utf-8")


class DocsView(StrictView, SpectacularSwaggerSplitView):
    """The page that shows the OpenAPI document, and its script."""

    permission_classes = [AllowAny]
    authentication_classes: list = []
    query_parameters = {"format", "script"}
    url_name = "schema"
    template_name = "api/swagger_ui.html"
    template_name_js = "api/swagger_ui.js"


@cache
def document(renderer: type[BaseRenderer]) -> str | bytes:
    """Return the OpenAPI document in the format of the renderer."""
    return renderer().render(SchemaGenerator().get_schema(public=True))


def uploaded_file(request, path):
    """Serve an uploaded file. Used in development and tests only."""
    return serve(request, path, document_root=settings.MEDIA_ROOT)
