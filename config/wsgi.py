"""The WSGI application that a web server such as gunicorn runs."""

import os
import sys

from django.core.exceptions import ImproperlyConfigured
from django.core.handlers.wsgi import WSGIRequest
from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")


class PlainRequest(WSGIRequest):
    """Queries and forms are UTF-8, whatever the request says.

    Python has encodings by which harmless bytes become a NUL character, half a surrogate pair or, before any view could
    refuse them, an error.
    """

    encoding = property(lambda request: None, lambda request, said: None)


try:
    application = get_wsgi_application()
except ImproperlyConfigured as error:
    sys.exit(f"Kilabu cannot start: {error}")
application.request_class = PlainRequest
