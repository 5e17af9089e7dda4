"""Places where a test may kill the process, to show that no commit point loses or doubles money."""

import os
import signal

from django.conf import settings


def reach(name: str) -> None:
    """Die at once, as by power loss, when a test asked for it here (setting FAILPOINT; tests only)."""
    if settings.TESTING and name == settings.FAILPOINT:
        os.kill(os.getpid(), signal.SIGKILL)
