"""Rows that all processes share: the OAuth token, and the rate and breaker of calls. One row each per Daraja app.

Their times are PostgreSQL's own (`clock_timestamp()`), so that machines with different clocks agree.
"""

from django.db import models


class DarajaToken(models.Model):
    """The OAuth token of a Daraja app. A new token ends the older one at Safaricom, so all processes share one."""

    app = models.CharField(primary_key=True, max_length=16, help_text="Which host and key it belongs to, hashed.")
    value = models.TextField(blank=True, help_text="Worth an hour at most; never logged, never shown.")
    version = models.PositiveIntegerField(default=0, help_text="Grows with each token; names one without showing it.")
    expires_at = models.DateTimeField()
    fetching_until = models.DateTimeField(null=True, help_text="Until when one process may fetch the next one alone.")

    class Meta:
        app_label = "payments"


class DarajaGate(models.Model):
    """The rate and the breaker of the calls to a Daraja app."""

    app = models.CharField(primary_key=True, max_length=16)
    next_at = models.DateTimeField(help_text="When the next call is due at an even rate; bursts may run ahead of it.")
    failures = models.PositiveIntegerField(default=0, help_text="Calls in a row that Safaricom did not answer well.")
    open_until = models.DateTimeField(help_text="After too many failures: no call before this, then one to try.")

    class Meta:
        app_label = "payments"
