"""Answers that belong to no app: unknown addresses, failures before any view, uploaded files in development."""

import logging
from functools import cache

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.csrf import csrf_exempt
from django.views.static import serve
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.utils import extend_schema
from drf_spectacular.views import SpectacularAPIView
from rest_framework.renderers import BaseRenderer

from api.exceptions import plain_answer

logger = logging.getLogger("api.csrf")

WORDS = {
    400: ("bad_request", "The request is not valid."),
    403: ("permission_denied", "You may not do this."),
    404: ("not_found", "Not found."),
    500: ("server_error", "Something went wrong on our side."),
}


def answer(request: HttpRequest, status: int) -> HttpResponse:
    """Answer a failure: the error envelope under /api/, a page elsewhere."""
    code, message = WORDS[status]
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
    """Answer what no address under /api/ takes, also in development, where Django would show a page of its own.

    Nor does Django lead to the address with its slash then, by which a POST would lose its body.
    """
    response = plain_answer(404, "not_found", "There is no such address. Each ends in a slash.")
    # As django.utils.log.log_response marks it: the path of a callback holds its token.
    response._has_been_logged = "/callbacks/" in request.path
    return response


def server_error(request):
    return answer(request, 500)


def csrf_failure(request, reason=""):
    """Django's CSRF failure, for its own pages and, in our shape, under /api/."""
    logger.warning("CSRF check failed: %s", reason)
    if request.path.startswith("/api/"):
        return plain_answer(403, "csrf_failed", "Please fetch a new CSRF token and try again.")
    return answer(request, 403)


class SchemaView(SpectacularAPIView):
    """The OpenAPI document, in YAML or JSON. Making it takes as long as dozens of other calls, so it is made once.

    Its base would put `version` into a header unread, and keep each `lang` that anybody asked for in memory.
    """

    @extend_schema(exclude=True)
    def get(self, request, *args, **kwargs):
        renderer = type(request.accepted_renderer)
        return HttpResponse(document(renderer), content_type=f"{renderer.media_type}; charset=utf-8")


@cache
def document(renderer: type[BaseRenderer]) -> str | bytes:
    """Return the OpenAPI document as the renderer writes it."""
    return renderer().render(SchemaGenerator().get_schema(public=True))


def uploaded_file(request, path):
    """Serve an uploaded file, in development and tests only."""
    return serve(request, path, document_root=settings.MEDIA_ROOT)
