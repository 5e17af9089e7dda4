"""The settings of Kilabu, read from environment variables and the file .env only.

`.env.example` lists each variable with its meaning. A missing or malformed variable stops the start with one line that
names it. No secret has a default in production.
"""

import os
import re
from datetime import timedelta
from pathlib import Path

import django
from django.core.exceptions import ImproperlyConfigured

from api.logs import log_config
from api.roles import HIGHEST_FIRST, Role
from config.env import (
    choice,
    cookie_name,
    email_server,
    env,
    flag,
    is_testing,
    key_pairs,
    mailer,
    networks,
    number,
    origins,
    postgresql,
    required_in_production,
    secret,
    words,
)
from config.theme import unfold_settings

BASE_DIR = Path(__file__).resolve().parent.parent

TESTING = is_testing()
if not TESTING:  # the tests must not depend on a developer's .env
    env.read_env(BASE_DIR / ".env")

ENVIRONMENT = "test" if TESTING else choice("ENVIRONMENT", ("development", "production"))
PRODUCTION = ENVIRONMENT == "production"
DEBUG = ENVIRONMENT == "development"

# --- URLs and folders of this copy ---------------------------------------------------------------

# The origin at which members and Safaricom reach the product, without a trailing slash. `manage.py tunnel` sets it.
PUBLIC_URL = required_in_production("PUBLIC_URL", "http://127.0.0.1:8000").rstrip("/")
if not re.fullmatch(r"https?://[^/\s]+", PUBLIC_URL):
    raise ImproperlyConfigured("PUBLIC_URL must be an origin such as https://club.example, without a path.")

SECRET_KEY = secret("SECRET_KEY", "development-only-secret-key-" + "x" * 32)
SECRET_KEY_FALLBACKS = env.list("SECRET_KEY_FALLBACKS", default=[])
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=[] if PRODUCTION else ["127.0.0.1", "localhost", "testserver"])
if PRODUCTION and not ALLOWED_HOSTS:
    raise ImproperlyConfigured("ALLOWED_HOSTS is not set.")
CSRF_TRUSTED_ORIGINS = origins("CSRF_TRUSTED_ORIGINS")
CORS_ALLOWED_ORIGINS = origins("CORS_ALLOWED_ORIGINS")
CORS_ALLOW_CREDENTIALS = True
CORS_URLS_REGEX = r"^/api/"
CORS_ALLOW_HEADERS = ["accept", "content-type", "idempotency-key", "x-csrftoken", "x-request-id"]
CORS_EXPOSE_HEADERS = ["X-CSRFToken", "X-Request-ID", "Retry-After", "Location"]

# Files that are not in the database: the callback spool, the simulator's book.
STATE_DIR = Path(env.str("STATE_DIR", default=str(BASE_DIR / "var")))
# Files of exports. All hosts share this folder, and no web server may serve it.
EXPORTS_ROOT = Path(env.str("EXPORTS_ROOT", default=str(STATE_DIR / "exports")))
# How far the club clock was moved in development (api/clock.py). None: it shows the real time.
CLUB_CLOCK_FILE = STATE_DIR / "club-clock" if ENVIRONMENT == "development" else None

# --- Django --------------------------------------------------------------------------------------

INSTALLED_APPS = [
    "unfold.apps.BasicAppConfig",  # before the admin, because it replaces templates of the admin
    "accounts.admin_config.ClubAdminConfig",  # django.contrib.admin with our own login
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "django.contrib.postgres",
    "rest_framework",
    "django_filters",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "corsheaders",
    "django_otp",
    "django_otp.plugins.otp_totp",
    "django_otp.plugins.otp_static",
    "procrastinate.contrib.django",
    "config",
    "api",
    "accounts",
    "payments",
    "subscriptions",
]

MIDDLEWARE = [
    # These come first, so that answers of other middleware have the headers too.
    "api.middleware.RequestIdMiddleware",
    "api.middleware.PrivacyHeadersMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "api.middleware.AnyHostMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "corsheaders.middleware.CorsMiddleware",
    "api.middleware.PlainRequestMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "api.middleware.AdminCsrfCookieMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "api.middleware.AdminMessageMiddleware",
]

ROOT_URLCONF = "config.urls"
WSGI_APPLICATION = "config.wsgi.application"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
AUTH_USER_MODEL = "accounts.CustomUser"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "config" / "desk" / "templates"],  # before Unfold's templates, some of which these replace
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

# --- Database: PostgreSQL, always ----------------------------------------------------------------

if env.str("DATABASE_URL", default=""):
    DATABASES = {"default": postgresql("DATABASE_URL")}
elif PRODUCTION:
    raise ImproperlyConfigured("DATABASE_URL is not set.")
else:
    # The embedded PostgreSQL. Its engine starts the server for the first connection.
    DATABASES = {"default": {"ENGINE": "config.dev.devdb", "NAME": "postgres"}}
# Short timeouts: a missing or stuck database must be noticed while Safaricom still waits for the answer to a callback.
DATABASES["default"]["OPTIONS"] = {
    "connect_timeout": 2,  # seconds
    "options": "-c lock_timeout=5s -c statement_timeout=30s -c idle_in_transaction_session_timeout=60s",
    # With these, the operating system notices a vanished database host within a minute.
    **{"keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3},
    **DATABASES["default"].get("OPTIONS", {}),
}
# Connecting would take most of the time of a request, so connections are reused, and checked before each next request
# (config/postgresql). Django's development server has a new thread for each request, so it cannot reuse any.
DATABASES["default"].setdefault("CONN_MAX_AGE", number("DATABASE_CONN_MAX_AGE", 60 if PRODUCTION else 0))
DATABASES["default"].setdefault("CONN_HEALTH_CHECKS", True)
if TESTING:
    # Tests need no protection against a power failure, so a commit does not wait for the disk.
    DATABASES["default"]["OPTIONS"]["options"] += " -c synchronous_commit=off"
# Services control their transactions: the bytes of a callback must be stored even when the rest fails.
DATABASES["default"].setdefault("ATOMIC_REQUESTS", False)

# --- Login, cookies, CSRF ------------------------------------------------------------------------

# In development the product uses plain HTTP on this machine, where browsers would not send a Secure cookie.
SECURE_COOKIES = flag("SECURE_COOKIES", not DEBUG)
CSRF_COOKIE_NAME = cookie_name("CSRF_COOKIE_NAME", "csrftoken", secure=SECURE_COOKIES)
CSRF_COOKIE_SECURE = SECURE_COOKIES
CSRF_COOKIE_HTTPONLY = True
CSRF_COOKIE_SAMESITE = "Lax"
# The admin has its own secret: a refresh of the app in the same browser must not spoil a form of the admin.
ADMIN_CSRF_COOKIE_NAME = f"{CSRF_COOKIE_NAME}-admin"
CSRF_FAILURE_VIEW = "api.views.csrf_failure"
AUTH_COOKIE = cookie_name("AUTH_COOKIE", "Authentication", secure=SECURE_COOKIES)
AUTH_COOKIE_REFRESH = cookie_name("AUTH_COOKIE_REFRESH", "Refresh", has_path=True, secure=SECURE_COOKIES)
AUTH_COOKIE_MFA = cookie_name("AUTH_COOKIE_MFA", "MfaPending", has_path=True, secure=SECURE_COOKIES)
AUTH_COOKIE_DEVICE = cookie_name("AUTH_COOKIE_DEVICE", "Device", secure=SECURE_COOKIES)
AUTH_COOKIE_DOMAIN = None  # this host only; with a domain, every subdomain would receive the tokens
AUTH_COOKIE_SECURE = SECURE_COOKIES
AUTH_COOKIE_HTTPONLY = True
AUTH_COOKIE_SAMESITE = "Lax"
ACCESS_LIFETIME = timedelta(seconds=number("ACCESS_SECONDS", 300, least=30, most=3600))
# A login session ends when it was idle for the first time, and at the latest after the second.
REFRESH_IDLE_LIFETIME = timedelta(days=number("REFRESH_IDLE_DAYS", 14, least=1))
REFRESH_ABSOLUTE_LIFETIME = timedelta(days=number("REFRESH_ABSOLUTE_DAYS", 30, least=1))
REFRESH_UNREMEMBERED_LIFETIME = timedelta(hours=12)
# Two tabs may send the same refresh token within this time. Later, a used token counts as stolen.
REFRESH_GRACE = timedelta(seconds=10)
FRESH_LOGIN_LIFETIME = timedelta(minutes=10)
# These roles work with other people's money and data, so they need a second factor.
MFA_REQUIRED_ROLES = words(
    "MFA_REQUIRED_ROLES", HIGHEST_FIRST, default=[Role.ADMIN.value, Role.MANAGER.value] if PRODUCTION else []
)
# How long the second factor may take after the password.
MFA_PENDING_LIFETIME = timedelta(minutes=5)
# Registrations and code requests of an hour at one place whose code was not sent back. Each sends an SMS. A code that
# was sent back is not counted, so an open day at the club's Wi-Fi needs no higher limit.
UNPROVED_CODES_PER_PLACE = number("UNPROVED_CODES_PER_PLACE", 30, least=1)
SESSIONS_PER_USER = number("SESSIONS_PER_USER", 20, least=1)
# Whether users get a message about a login from a new browser. A message may cost an SMS.
LOGIN_NOTICES = flag("LOGIN_NOTICES", True)
LOGIN_SESSION_MODEL = "accounts.LoginSession"
JWT_ISSUER = PUBLIC_URL
JWT_AUDIENCE = "kilabu-api"
SESSION_COOKIE_SECURE = SECURE_COOKIES
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Strict"
# Whether a login to the admin also works for the API and its page docs/. If not, the cookie is sent to the admin only.
ADMIN_SESSION_ON_API = flag("ADMIN_SESSION_ON_API", True)
SESSION_COOKIE_PATH = "/" if ADMIN_SESSION_ON_API else "/admin/"
SESSION_COOKIE_AGE = int(timedelta(hours=8).total_seconds())
X_FRAME_OPTIONS = "DENY"
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
SECURE_SSL_REDIRECT = flag("SECURE_SSL_REDIRECT", PRODUCTION)
# Safaricom does not follow a redirect and does not send again, and a probe knows only an address. These paths are also
# answered under any host name (api.middleware.AnyHostMiddleware).
SECURE_REDIRECT_EXEMPT = [r"^api/v1/callbacks/", r"^(healthz|readyz)$"]
SECURE_HSTS_SECONDS = number("SECURE_HSTS_SECONDS", 31_536_000 if PRODUCTION else 0)
SECURE_HSTS_INCLUDE_SUBDOMAINS = PRODUCTION
SECURE_HSTS_PRELOAD = PRODUCTION
# Safe only behind a proxy that overwrites this header.
if flag("BEHIND_HTTPS_PROXY", False):
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")

# Keys by id, such as "2026-11=<32 bytes or more>". To rotate: add a key, make it active, remove the old after 30 days.
keys = key_pairs("JWT_KEYS", "development=development-only-jwt-key-" + "y" * 32)
JWT_KEYS = {kid: {"alg": "HS256", "key": key} for kid, key in keys.items()}
JWT_ACTIVE_KID = required_in_production("JWT_ACTIVE_KID", "development")
if SECRET_KEY in keys.values():
    raise ImproperlyConfigured("JWT_KEYS must not hold SECRET_KEY.")
if JWT_ACTIVE_KID not in JWT_KEYS:
    raise ImproperlyConfigured("JWT_ACTIVE_KID is not one of JWT_KEYS.")

AUTHENTICATION_BACKENDS = ["accounts.backends.IdentifierBackend"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 10}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
    {"NAME": "accounts.password_validators.PersonalDataValidator"},
]
# Each hash takes 19 MiB while it is computed. More at once than processors are no faster.
PASSWORD_HASHES_AT_ONCE = number("PASSWORD_HASHES_AT_ONCE", 4, least=1, most=100)
# Argon2id with 19 MiB, two passes and one lane (OWASP Password Storage Cheat Sheet). Tests use a fast, weak hash.
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"] if TESTING else ["accounts.hashers.Argon2idHasher"]

# Networks of our own proxies. Their X-Forwarded-For header is used.
TRUSTED_PROXIES = networks("TRUSTED_PROXIES")

# --- E-mail and SMS ------------------------------------------------------------------------------

EMAIL_CONFIG = email_server("EMAIL_URL", "smtp://localhost:25" if PRODUCTION else "consolemail://")
# Django 6.1 reads MAILERS and refuses the older names beside it.
MAILERS = {"default": mailer(EMAIL_CONFIG)}
if django.VERSION < (6, 1):
    vars().update(EMAIL_CONFIG)
DEFAULT_FROM_EMAIL = env.str("DEFAULT_FROM_EMAIL", default="club@localhost")
# "phone" shows the message on the simulator's phone; "africastalking" sends it.
SMS_BACKEND = choice(
    "SMS_BACKEND",
    ("africastalking",) if PRODUCTION else ("console", "phone", "africastalking"),
    default="africastalking" if PRODUCTION else "phone",
)
AFRICASTALKING_USERNAME = env.str("AFRICASTALKING_USERNAME", default="")
AFRICASTALKING_API_KEY = env.str("AFRICASTALKING_API_KEY", default="")
for name in ("AFRICASTALKING_USERNAME", "AFRICASTALKING_API_KEY"):
    if SMS_BACKEND == "africastalking" and not globals()[name]:
        raise ImproperlyConfigured(f"{name} is not set.")
AFRICASTALKING_SENDER = env.str("AFRICASTALKING_SENDER", default="")

# --- REST framework ------------------------------------------------------------------------------

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "api.authentication.CookieJWTAuthentication",
        *(["accounts.authentication.AdminSessionAuthentication"] if ADMIN_SESSION_ON_API else []),
    ],
    "DEFAULT_FILTER_BACKENDS": [
        "api.filters.StrictFilterBackend",
        "api.filters.StrictSearchFilter",
        "api.filters.StrictOrderingFilter",
    ],
    "DEFAULT_RENDERER_CLASSES": ["api.renderers.EnvelopeRenderer"],
    "DEFAULT_PAGINATION_CLASS": "api.pagination.PagePagination",
    "EXCEPTION_HANDLER": "api.exceptions.handle",
    "DEFAULT_SCHEMA_CLASS": "api.schema.EnvelopeSchema",
    "TEST_REQUEST_DEFAULT_FORMAT": "json",
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_PARSER_CLASSES": ["api.parsers.StrictJSONParser"],
}

SPECTACULAR_SETTINGS = {
    "TITLE": "Kilabu",
    "DESCRIPTION": "Memberships over M-Pesa. docs/api.md explains how a single-page application uses it.",
    "VERSION": "1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SCHEMA_PATH_PREFIX": "/api/v1/",
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "ENUM_NAME_OVERRIDES": {
        "Channel": "payments.models.Channel",
        "PaymentStatus": "payments.models.PaymentStatus",
        "PushStatus": "payments.models.PushStatus",
        "ReviewStatus": "payments.models.ReviewStatus",
        "SubscriptionStatus": "subscriptions.statuses.Status",
    },
    "POSTPROCESSING_HOOKS": ["drf_spectacular.hooks.postprocess_schema_enums", "api.schema.add_components"],
}

# --- Jobs ----------------------------------------------------------------------------------------

PROCRASTINATE_AUTODISCOVER_MODULE_NAME = "jobs"
PROCRASTINATE_WORKER_DEFAULTS = {
    # Most jobs wait for Safaricom. Each has its own thread.
    "concurrency": number("WORKER_CONCURRENCY", 10, least=1, most=100),
    # Seconds. A new job notifies the worker, but not a job that waited for a lock, or whose notification was lost.
    "fetch_job_polling_interval": 1.0,
}

# --- M-Pesa (Safaricom's Daraja API) -------------------------------------------------------------

# "simulator" is payments/simulator on this machine. The others are hosts of Safaricom.
DARAJA_ENVIRONMENT = choice(
    "DARAJA_ENVIRONMENT", ("simulator", "sandbox", "production"), default=None if PRODUCTION else "simulator"
)
if PRODUCTION and DARAJA_ENVIRONMENT == "simulator":
    raise ImproperlyConfigured("DARAJA_ENVIRONMENT must not be simulator in production.")
# The values of the sandbox are public (Daraja portal, "Test Credentials"). The simulator uses them too.
SIMULATED = DARAJA_ENVIRONMENT == "simulator"
DARAJA_SIMULATOR_URL = env.str("DARAJA_SIMULATOR_URL", default="http://127.0.0.1:8099")
DARAJA_BASE_URL = {
    "simulator": DARAJA_SIMULATOR_URL,
    "sandbox": "https://sandbox.safaricom.co.ke",
    "production": "https://api.safaricom.co.ke",
}[DARAJA_ENVIRONMENT]
DARAJA_CONSUMER_KEY = env.str("DARAJA_CONSUMER_KEY", default="simulator-key" if SIMULATED else "")
DARAJA_CONSUMER_SECRET = env.str("DARAJA_CONSUMER_SECRET", default="simulator-secret" if SIMULATED else "")
DARAJA_PASSKEY = env.str(
    "DARAJA_PASSKEY",
    default="bfb279f9aa9bdbcf158e97dd71a467cd2e0c893059b10f78e6b72ada1ed2c919" if not PRODUCTION else "",
)
# Paybill: the paybill number, without a till. Buy Goods: the store (head office) number, and the till that payers see.
DARAJA_SHORTCODE = env.str("DARAJA_SHORTCODE", default="174379" if not PRODUCTION else "")
DARAJA_TILL = env.str("DARAJA_TILL", default="")
for name in ("DARAJA_CONSUMER_KEY", "DARAJA_CONSUMER_SECRET", "DARAJA_PASSKEY", "DARAJA_SHORTCODE"):
    if PRODUCTION and not globals()[name]:
        raise ImproperlyConfigured(f"{name} is not set.")
for name in ("DARAJA_SHORTCODE", "DARAJA_TILL"):
    if globals()[name] and not re.fullmatch(r"[0-9]{5,7}", globals()[name]):
        raise ImproperlyConfigured(f"{name} must be 5 to 7 digits.")
# A part of the confirmation and validation URLs of the paybill. The URLs have no word that Safaricom refuses.
C2B_SECRET = secret("C2B_SECRET", "development-only-paybill-secret-" + "x" * 8)
# Whether validation requests of M-Pesa are checked against our data. If not, every payment is accepted.
C2B_VALIDATION = flag("C2B_VALIDATION", False)
# For Transaction Status: an API operator of the shortcode, and its password encrypted by the portal. May be empty.
DARAJA_INITIATOR = env.str("DARAJA_INITIATOR", default="simulator" if SIMULATED else "")
DARAJA_SECURITY_CREDENTIAL = env.str("DARAJA_SECURITY_CREDENTIAL", default="simulator" if SIMULATED else "")
# For `manage.py tunnel`: the token of an account at ngrok.com.
NGROK_AUTHTOKEN = env.str("NGROK_AUTHTOKEN", default="")
# Safaricom does not publish its rate limit. Above it, Safaricom answers "Spike Arrest Violation".
DARAJA_CALLS_PER_SECOND = number("DARAJA_CALLS_PER_SECOND", 20, least=1, most=1000)
# Safaricom allows at most KES 250,000 in a transaction (Daraja portal, M-Pesa Express).
MPESA_MAX_AMOUNT = number("MPESA_MAX_AMOUNT", 250_000, least=1)
# The time until an unpaid payment expires. Late money still pays it.
PAYMENT_LIFETIME = timedelta(hours=number("PAYMENT_LIFETIME_HOURS", 72, least=1))
# An order that has given nothing and got no money for this long ends, and its money becomes credit.
ORDER_LIFETIME = timedelta(days=number("ORDER_LIFETIME_DAYS", 30, least=1, most=3650))

# The point at which a test wants this process to end (payments/failpoints.py).
FAILPOINT = os.environ.get("FAILPOINT", "") if TESTING else ""

# The days after which the body of an applied callback is deleted. Its row stays.
CALLBACK_BODY_DAYS = number("CALLBACK_BODY_DAYS", 365, least=30)

# --- Language, time, files -----------------------------------------------------------------------

LANGUAGE_CODE = "en"
LANGUAGES = [("en", "English"), ("sw", "Kiswahili")]
# Instants are stored in UTC. Business days are dates in Nairobi (UTC+3, without daylight saving).
TIME_ZONE = "Africa/Nairobi"
USE_TZ = True
FORMAT_MODULE_PATH = "config.formats"
STATIC_URL = "static/"
STATICFILES_DIRS = [BASE_DIR / "config" / "desk" / "static"]
STATIC_ROOT = BASE_DIR / "staticfiles"
WHITENOISE_USE_FINDERS = not PRODUCTION
# Outside production, static files are found for each request, and STATIC_ROOT need not exist.
WHITENOISE_AUTOREFRESH = not PRODUCTION
MEDIA_URL = "media/"
MEDIA_ROOT = Path(env.str("MEDIA_ROOT", default=str(BASE_DIR / "media")))
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}
if PRODUCTION:
    STORAGES["staticfiles"] = {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"}

# --- Logs: to standard error, masked, with the request's id ---------------------------------------

LOGGING = log_config(
    level=choice("LOG_LEVEL", ("DEBUG", "INFO", "WARNING", "ERROR"), default="INFO"),
    formatter="json" if PRODUCTION else "plain",
)

# --- Club ----------------------------------------------------------------------------------------

CLUB_NAME = env.str("CLUB_NAME", default="Kilabu Fitness")
# The page with the terms to which new members agree. Without it, the text has no link.
CLUB_TERMS_URL = env.str("CLUB_TERMS_URL", default="")
if CLUB_TERMS_URL and not re.fullmatch(r"https?://[^/\s]+(/\S*)?", CLUB_TERMS_URL):
    raise ImproperlyConfigured("CLUB_TERMS_URL must be a URL such as https://club.example/terms.")
OTP_TOTP_ISSUER = CLUB_NAME  # the name that authenticator apps show

# --- The admin's theme ---------------------------------------------------------------------------

UNFOLD = unfold_settings(CLUB_NAME)
