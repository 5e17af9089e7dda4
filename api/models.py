"""Counters behind throttles, in PostgreSQL so that every process counts together."""

from django.db import models


class Counter(models.Model):
    """How often something was asked within its running window."""

    key = models.CharField(max_length=128, primary_key=True)
    count = models.PositiveIntegerField()
    resets_at = models.DateTimeField(db_index=True)
