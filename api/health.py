"""Health probes: /healthz (the process answers) and /readyz (it can reach what it needs)."""

from collections.abc import Callable, Mapping

from django.db import OperationalError, connection
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpRequest, JsonResponse
from django.views.decorators.http import require_safe

from api.version import VERSION

# What /readyz shows beside its checks: a function for each name. Apps add theirs when they are ready.
DETAILS: dict[str, Callable[[], Mapping[str, object]]] = {}


@require_safe
def healthz(request: HttpRequest) -> JsonResponse:
    """Answer 200 with the version, as long as the process answers at all."""
    return JsonResponse({"status": "ok", "version": VERSION})


@require_safe
def readyz(request: HttpRequest) -> JsonResponse:
    """Answer 200 when the database answers and all migrations are applied, else 503.

    The body also says whether a worker has sent a heartbeat within two minutes, and has the DETAILS of the apps.
    Neither changes the status.
    """
    checks = {"database": False, "migrations": False, "worker": False}
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
            checks["database"] = True
            executor = MigrationExecutor(connection)
            checks["migrations"] = not executor.migration_plan(executor.loader.graph.leaf_nodes())
            if checks["migrations"]:
                cursor.execute(
                    "SELECT EXISTS (SELECT FROM procrastinate_workers"
                    " WHERE last_heartbeat > now() - interval '2 minutes')"
                )
                checks["worker"] = cursor.fetchone()[0]
    except OperationalError:
        checks["database"] = False
    ready = checks["database"] and checks["migrations"]
    details = {name: dict(read()) for name, read in DETAILS.items()}
    return JsonResponse(
        {"status": "ok" if ready else "not ready", "checks": checks, **details}, status=200 if ready else 503
    )
