"""Counters behind throttles, in PostgreSQL so that every process counts together; and who took rows out as a file."""

from django.conf import settings
from django.db import models
from django.db.models import Q


class Counter(models.Model):
    """How often something was asked within its running window."""

    key = models.CharField(max_length=128, primary_key=True)
    count = models.PositiveIntegerField()
    resets_at = models.DateTimeField(db_index=True)


class ExportState(models.TextChoices):
    SENT = "sent"  # answered at once; no file was kept
    WAITING = "waiting"  # a job writes the file
    READY = "ready"  # the file can be downloaded
    FAILED = "failed"  # no file came of it
    FORGOTTEN = "forgotten"  # the file was deleted after its days


class Export(models.Model):
    """Rows of a list of the admin that somebody asked for as a file. The row stays, as the record of it."""

    asked_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    asked_at = models.DateTimeField()
    page = models.CharField(max_length=80, help_text="The list: the label of its model.")
    filters = models.JSONField(default=dict, help_text="What the list was searched and filtered by.")
    file_format = models.CharField(max_length=4, choices=[("csv", "CSV"), ("xlsx", "XLSX")])
    state = models.CharField(max_length=12, choices=ExportState)
    rows = models.PositiveIntegerField(null=True)
    ended_at = models.DateTimeField(null=True, help_text="When the file was written, or was given up.")

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
        """What the file is called, on our disk and on the disk of who asked."""
        return f"{self.page.split('.')[1]}-{self.pk}.{self.file_format}"
