"""The WSGI application."""

import io

import pytest
from django.test import RequestFactory

from config.wsgi import application

HARMLESS = "\\ud800\\u0000"  # twelve characters, unless they are decoded as escapes
FORM = f'--x\r\nContent-Disposition: form-data; name="q"\r\n\r\n{HARMLESS}\r\n--x--\r\n'.encode()


@pytest.mark.parametrize("charset", ["unicode_escape", "rot13", "zlib", "utf-16", "no-such"])
def test_queries_and_forms_are_always_read_as_utf_8(charset):
    environ = RequestFactory().post("/?q=%5Cud800%5Cu0000").environ
    kind = f"multipart/form-data; boundary=x; charset={charset}"
    environ |= {"CONTENT_TYPE": kind, "CONTENT_LENGTH": str(len(FORM)), "wsgi.input": io.BytesIO(FORM)}

    request = application.request_class(environ)

    assert (request.GET["q"], request.POST["q"]) == (HARMLESS, HARMLESS)
