"""The reference single-page application (docs/spa), served at / in development, with the simulator's phone.

In production these URLs answer 404: a club serves its own application, from its proxy or from another host.
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
    """Serve the page. With the simulator, the page may show its phone in a frame."""
    response = serve(request, "index.html", document_root=str(FILES))
    if settings.SIMULATED:
        response["Content-Security-Policy"] = f"{PAGE_POLICY}; frame-src {settings.DARAJA_SIMULATOR_URL}"
    return response


@never_cache  # an edited module must not be used with an old one
def file(request: HttpRequest, name: str) -> HttpResponseBase:
    """Serve a script, the stylesheet or the icon."""
    return serve(request, name, document_root=str(FILES))


@never_cache
def phone(request: HttpRequest) -> HttpResponseBase:
    """Answer with the URL of the simulated phone, or null."""
    return JsonResponse({"phone": f"{settings.DARAJA_SIMULATOR_URL}/phone/" if settings.SIMULATED else None})


urlpatterns = [
    path("", page),
    path("phone.json", phone),
    path("favicon.ico", file, {"name": "icon.svg"}),  # also the admin's icon
    re_path(r"^(?P<name>[a-z/]+\.(?:js|css|svg))$", file),
]
