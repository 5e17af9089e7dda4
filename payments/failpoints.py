"""Failpoints: places where a test can kill the process, to show that no commit point loses or doubles money."""

import os
import signal

from django.conf import settings


def reach(name: str) -> None:
    """Kill this process at once, as a power loss would, when the setting FAILPOINT has this name. In tests only."""
    if settings.TESTING and name == settings.FAILPOINT:
        os.kill(os.getpid(), signal.SIGKILL)
