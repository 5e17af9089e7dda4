"""The product's settings, with additions for the references."""

from config.settings import *  # noqa: F403
from config.settings import INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "rest_framework_simplejwt.token_blacklist"]
ROOT_URLCONF = "benchmarks.urls"
SECURE_SSL_REDIRECT = False
# dj-rest-auth reads these during its import.
REST_AUTH = {"USE_JWT": True, "JWT_AUTH_COOKIE": "reference", "TOKEN_MODEL": None, "SESSION_LOGIN": False}
SIMPLE_JWT = {"ROTATE_REFRESH_TOKENS": True, "BLACKLIST_AFTER_ROTATION": True}
CLUB_CLOCK_FILE = None  # as in production
