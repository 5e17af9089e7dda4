"""The reference single-page application (docs/spa), at / in development: its files as they are, and a phone beside it.

In production these addresses are not there (404): a club serves its own application, from its proxy or another host.
"""

from django.conf import settings
from django.http import HttpRequest, JsonResponse
from django.http.response import HttpResponseBase
from django.urls import path, re_path
from django.views.decorators.cache import never_cache
from django.views.static import serve

from api.middleware import PAGE_POLICY

FILES = settings.BASE_DIR / "docs" / "spa"


@never_cache
def page(request: HttpRequest) -> HttpResponseBase:
    """Give the page; where M-Pesa is simulated, it may hold the simulator's phone in a frame."""
    response = serve(request, "index.html", document_root=str(FILES))
    if settings.SIMULATED:
        response["Content-Security-Policy"] = f"{PAGE_POLICY}; frame-src {settings.DARAJA_SIMULATOR_URL}"
    return response


@never_cache  # an edited module must not meet an old one
def file(request: HttpRequest, name: str) -> HttpResponseBase:
    """Give a script, the style or the icon."""
    return serve(request, name, document_root=str(FILES))


@never_cache
def phone(request: HttpRequest) -> HttpResponseBase:
    """Say where the simulated phone is, if there is one."""
    return JsonResponse({"phone": f"{settings.DARAJA_SIMULATOR_URL}/phone/" if settings.SIMULATED else None})


urlpatterns = [
    path("", page),
    path("phone.json", phone),
    path("favicon.ico", file, {"name": "icon.svg"}),  # the admin's too
    re_path(r"^(?P<name>[a-z/]+\.(?:js|css|svg))$", file),
]
