"""The product's settings. The world has a clock of its own: every service receives `now` from it."""

from config.settings import *  # noqa: F403

CLUB_CLOCK_FILE = None  # as in production
LOGGING = {"version": 1, "disable_existing_loggers": True}  # refusals are counted, not logged
