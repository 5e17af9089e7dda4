"""What is done when Django itself logs somebody in, which only the admin asks it to."""

from django.contrib.auth.signals import user_logged_in
from django.dispatch import receiver

from api.clock import now

LOGGED_IN_AT = "logged_in_at"
AMR = "amr"


@receiver(user_logged_in, dispatch_uid="accounts.remember_how")
def remember_how(sender, *, request, user, **kwargs):
    """Keep in the admin's session when it began, for changes that ask for a fresh one, and what was proved then."""
    request.session[LOGGED_IN_AT] = now().timestamp()
    request.session[AMR] = getattr(user, "amr", ["pwd"])
