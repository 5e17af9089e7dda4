"""Measurement of the product and a reference, alternately, so that other load on the machine slows both."""

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

from django.core.handlers.wsgi import WSGIHandler
from django.db import connection
from django.test import RequestFactory, override_settings
from django.test.utils import CaptureQueriesContext

ROUNDS, CALLS = 15, 20
# The middleware of `django-admin startproject`, for the references.
DJANGO_MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]


@dataclass(frozen=True)
class Row:
    """A row of the table. Each side is a function that prepares data and returns a function for one WSGI request."""

    name: str
    product: Callable[[], Callable[[], dict]]
    reference: Callable[[], Callable[[], dict]]
    against: str
    at_most: float | None = None  # goal for the ratio; None: no goal
    statements: int | None = None  # goal for the SQL statements; None: no goal


@dataclass(frozen=True)
class Result:
    """Medians of CPU microseconds for one call of each side and of their ratio, and the SQL statements of one call."""

    product: float
    reference: float
    ratio: float
    product_statements: int
    reference_statements: int


def request(method: str, path: str, **extra) -> dict:
    """Return the WSGI environment of one HTTPS request."""
    return RequestFactory().generic(method, path, secure=True, **extra).environ


def serve(handler: WSGIHandler, environ: dict) -> None:
    """Answer one request from start to close.

    :raises RuntimeError: the answer was not 200
    """
    status = []
    response = handler(environ, lambda line, headers: status.append(line))
    b"".join(response)
    response.close()
    if not status[0].startswith("200"):
        raise RuntimeError(f"{environ['PATH_INFO']} answered {status[0]}")


def cpu_of(handler: WSGIHandler, environs: list[dict]) -> float:
    """Return the CPU microseconds of one call in this process, without the time of the database."""
    began = time.process_time()
    for environ in environs:
        serve(handler, environ)
    return (time.process_time() - began) / len(environs) * 1e6


def statements_of(handler: WSGIHandler, environ: dict) -> int:
    """Return the number of SQL statements of one call, without BEGIN and COMMIT."""
    with CaptureQueriesContext(connection) as captured:
        serve(handler, environ)
    return sum(query["sql"] not in ("BEGIN", "COMMIT") for query in captured)


def measure(row: Row) -> Result:
    """Measure both sides of a row alternately."""
    product_handler = WSGIHandler()
    with override_settings(MIDDLEWARE=DJANGO_MIDDLEWARE):
        reference_handler = WSGIHandler()
    product, reference = row.product(), row.reference()
    for _ in range(5):  # the first calls import modules and fill caches
        serve(product_handler, product())
        serve(reference_handler, reference())
    statements = statements_of(product_handler, product()), statements_of(reference_handler, reference())
    rounds = []
    for _ in range(ROUNDS):
        environs = [product() for _ in range(CALLS)], [reference() for _ in range(CALLS)]
        gc.collect()
        rounds.append((cpu_of(product_handler, environs[0]), cpu_of(reference_handler, environs[1])))
    return Result(
        median(ours for ours, _ in rounds),
        median(theirs for _, theirs in rounds),
        median(ours / theirs for ours, theirs in rounds),
        *statements,
    )
