"""Receivers of Django's login signal. Only the admin logs in that way."""

from django.contrib.auth.signals import user_logged_in
from django.dispatch import receiver

from api.clock import now

LOGGED_IN_AT = "logged_in_at"
AMR = "amr"
# When the caller themselves ended all their other logins. Their own stays valid, but does not become fresh by it.
KEPT_AT = "kept_at"


@receiver(user_logged_in, dispatch_uid="accounts.store_login_in_session")
def store_login_in_session(sender, *, request, user, **kwargs):
    """Store the time and the methods of the login in the admin's session, for actions that need a fresh login."""
    request.session[LOGGED_IN_AT] = now().timestamp()
    request.session[AMR] = getattr(user, "amr", ["pwd"])
