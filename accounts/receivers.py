"""What is done when Django itself logs somebody in, which only the admin asks it to."""

from django.contrib.auth.signals import user_logged_in
from django.dispatch import receiver

from api.clock import now

LOGGED_IN_AT = "logged_in_at"


@receiver(user_logged_in, dispatch_uid="accounts.remember_when")
def remember_when(sender, *, request, **kwargs):
    """Keep in the admin's session when it began, so that grave changes can ask for a fresh one."""
    request.session[LOGGED_IN_AT] = now().timestamp()
