"""The WSGI application, for a web server such as gunicorn."""

import os
import sys

from django.core.exceptions import ImproperlyConfigured
from django.core.handlers.wsgi import WSGIRequest
from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")


class PlainRequest(WSGIRequest):
    """A request whose query and form are always read as UTF-8.

    With other encodings that Python knows, a client could make NUL characters or lone surrogates from harmless bytes,
    or cause an error before any view.
    """

    encoding = property(lambda request: None, lambda request, charset: None)


try:
    application = get_wsgi_application()
except ImproperlyConfigured as error:
    sys.exit(f"Kilabu cannot start: {error}")
application.request_class = PlainRequest
