"""The tables of the HTTP layer: rate limit counters, idempotency keys, exports, and the audit trail of changes."""

from django.conf import settings
from django.core.serializers.json import DjangoJSONEncoder
from django.db import models
from django.db.models import Q


class Counter(models.Model):
    """A counter: the number of requests for one key in the current window of a rate limit (api/throttling.py)."""

    key = models.CharField(max_length=128, primary_key=True)
    count = models.PositiveIntegerField()
    resets_at = models.DateTimeField(db_index=True)


class IdempotencyRecord(models.Model):
    """An idempotency key of a request that was done, with its results. Written by api/idempotency.py only."""

    caller = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    key = models.CharField(max_length=64)
    fingerprint = models.CharField(max_length=64, help_text="SHA-256 of the request's path and body.")
    results = models.JSONField(help_text="The ids of the rows that were the answer.")
    created_at = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["caller", "key"], name="idempotency_key_once_per_caller")]

    def __str__(self) -> str:
        return self.key


class ExportState(models.TextChoices):
    """The state of an export."""

    SENT = "sent", "downloaded at once"  # without a stored file
    WAITING = "waiting", "being written"  # by a job
    READY = "ready", "ready to download"
    FAILED = "failed", "failed"  # the job could not write the file
    FORGOTTEN = "forgotten", "deleted after a week"  # the file; the record stays


class Export(models.Model):
    """An export: rows of an admin list that a user took out as a file. The record is never deleted, only its file."""

    asked_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    asked_at = models.DateTimeField()
    page = models.CharField(max_length=80, help_text="The list: the label of its model.")
    filters = models.JSONField(default=dict, help_text="The search and the filters of the list.")
    file_format = models.CharField(max_length=4, choices=[("csv", "CSV"), ("xlsx", "XLSX")])
    state = models.CharField(max_length=12, choices=ExportState)
    rows = models.PositiveIntegerField(null=True)
    ended_at = models.DateTimeField(null=True, help_text="When the job ended: with the file, or without it.")

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["asked_by", "page"],
                condition=Q(state=ExportState.WAITING),
                name="export_waits_once_per_person_and_page",
            ),
            models.CheckConstraint(
                condition=~Q(state__in=[ExportState.SENT, ExportState.READY])
                | Q(rows__isnull=False, ended_at__isnull=False),
                name="export_written_is_counted",
            ),
        ]

    def __str__(self) -> str:
        return self.file_name

    @property
    def file_name(self) -> str:
        """The name of the file, on our disk and in the download."""
        return f"{self.page.split('.')[1]}-{self.pk}.{self.file_format}"


class ChangeKind(models.TextChoices):
    """What was done to a row."""

    ADDED = "added"
    CHANGED = "changed"
    DELETED = "deleted"


class Change(models.Model):
    """A row of the audit trail (api/changes.py). A database trigger refuses updates and deletes."""

    by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.DO_NOTHING, db_constraint=False, related_name="+"
    )
    at = models.DateTimeField()
    table = models.CharField(max_length=80, help_text="The label of the changed model.")
    row = models.CharField(max_length=40, help_text="The primary key of the changed row.")
    kind = models.CharField(max_length=8, choices=ChangeKind)
    before = models.JSONField(encoder=DjangoJSONEncoder)
    after = models.JSONField(encoder=DjangoJSONEncoder)
    request_id = models.CharField(max_length=64, blank=True)

    class Meta:
        indexes = [models.Index(fields=["table", "row", "-id"], name="change_by_row")]

    def __str__(self) -> str:
        return f"{self.table.split('.')[1]} {self.row}, {self.kind}"
