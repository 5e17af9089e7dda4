"""Every setting of Kilabu, in one file, from the environment (and .env) only.

`.env.example` lists each variable with its meaning. A missing or malformed value stops the start with
one line that names it; no secret has a default outside development and tests.
"""

import os
import re
from datetime import timedelta
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured
from django.templatetags.static import static

from api.roles import HIGHEST_FIRST, Role
from config import theme
from config.env import (
    choice,
    cookie_name,
    email_server,
    env,
    flag,
    is_testing,
    networks,
    number,
    origins,
    postgresql,
    required_in_production,
    secret,
    words,
)

BASE_DIR = Path(__file__).resolve().parent.parent

TESTING = is_testing()
if not TESTING:  # a developer's .env must not change the tests
    env.read_env(BASE_DIR / ".env")

ENVIRONMENT = "test" if TESTING else choice("ENVIRONMENT", ("development", "production"))
PRODUCTION = ENVIRONMENT == "production"
DEBUG = ENVIRONMENT == "development"

# --- Where this copy lives -----------------------------------------------------------------------

# The origin members and Safaricom reach us at, without a trailing slash. `manage.py tunnel` sets it.
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

# What a process keeps on disk beside the database: the callback spool, the simulator's book.
STATE_DIR = Path(env.str("STATE_DIR", default=str(BASE_DIR / "var")))
# Where files of exports wait for whoever asked for them: shared by all hosts, served by no web server.
EXPORTS_ROOT = Path(env.str("EXPORTS_ROOT", default=str(STATE_DIR / "exports")))
# How far the development club clock was moved (api/clock.py). None: the clock is the real one.
CLUB_CLOCK_FILE = STATE_DIR / "club-clock" if ENVIRONMENT == "development" else None

# --- Django --------------------------------------------------------------------------------------

INSTALLED_APPS = [
    "unfold.apps.BasicAppConfig",  # before the admin, whose templates it replaces; the site stays ours
    "accounts.admin_config.ClubAdminConfig",  # django.contrib.admin, with doors of our own
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
    # What every answer carries comes first, so that also those which no view gave have it.
    "api.middleware.RequestIdMiddleware",
    "api.middleware.PrivacyHeadersMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "corsheaders.middleware.CorsMiddleware",
    "api.middleware.PlainRequestMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
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
        "DIRS": [BASE_DIR / "config" / "desk" / "templates"],  # before unfold's own, a few of which it replaces
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
    # The embedded PostgreSQL; its engine starts the server when the first connection is wanted.
    DATABASES = {"default": {"ENGINE": "config.dev.devdb", "NAME": "postgres"}}
# A database that is away or stuck is noticed while Safaricom still waits for our answer to a callback.
DATABASES["default"]["OPTIONS"] = {
    "connect_timeout": 2,  # seconds
    "options": "-c lock_timeout=5s -c statement_timeout=30s -c idle_in_transaction_session_timeout=60s",
    # The system notices within a minute a host that vanished without a word.
    **{"keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3},
    **DATABASES["default"].get("OPTIONS", {}),
}
# A request that had to connect first would spend most of its time on that. A kept connection is looked at before its
# next request (config/postgresql). Django's development server has a thread for each request: there nothing is kept.
DATABASES["default"].setdefault("CONN_MAX_AGE", number("DATABASE_CONN_MAX_AGE", 60 if PRODUCTION else 0))
DATABASES["default"].setdefault("CONN_HEALTH_CHECKS", True)
if TESTING:
    # Nobody pulls the plug in a test: what is committed need not be on disk at once.
    DATABASES["default"]["OPTIONS"]["options"] += " -c synchronous_commit=off"
# Services own their transactions: a callback must keep its bytes even when the rest fails.
DATABASES["default"].setdefault("ATOMIC_REQUESTS", False)

# --- Sign-in, cookies, CSRF ----------------------------------------------------------------------

# Plain HTTP is served on the loopback in development only; there, a Secure cookie would never come back.
SECURE_COOKIES = flag("SECURE_COOKIES", not DEBUG)
CSRF_COOKIE_NAME = cookie_name("CSRF_COOKIE_NAME", "csrftoken", secure=SECURE_COOKIES)
CSRF_COOKIE_SECURE = SECURE_COOKIES
CSRF_COOKIE_HTTPONLY = True
CSRF_COOKIE_SAMESITE = "Lax"
CSRF_FAILURE_VIEW = "api.views.csrf_failure"
AUTH_COOKIE = cookie_name("AUTH_COOKIE", "Authentication", secure=SECURE_COOKIES)
AUTH_COOKIE_REFRESH = cookie_name("AUTH_COOKIE_REFRESH", "Refresh", has_path=True, secure=SECURE_COOKIES)
AUTH_COOKIE_MFA = cookie_name("AUTH_COOKIE_MFA", "MfaPending", has_path=True, secure=SECURE_COOKIES)
AUTH_COOKIE_DOMAIN = None  # this very host; a domain would hand the tokens to every subdomain
AUTH_COOKIE_SECURE = SECURE_COOKIES
AUTH_COOKIE_HTTPONLY = True
AUTH_COOKIE_SAMESITE = "Lax"
ACCESS_LIFETIME = timedelta(seconds=number("ACCESS_SECONDS", 300, least=30, most=3600))
# A session ends when it was idle for so long, and in any case when the absolute time is over.
REFRESH_IDLE_LIFETIME = timedelta(days=number("REFRESH_IDLE_DAYS", 14, least=1))
REFRESH_ABSOLUTE_LIFETIME = timedelta(days=number("REFRESH_ABSOLUTE_DAYS", 30, least=1))
REFRESH_UNREMEMBERED_LIFETIME = timedelta(hours=12)
# Two tabs may present the same refresh token within this time; later, a used token is a stolen one.
REFRESH_GRACE = timedelta(seconds=10)
FRESH_LOGIN_LIFETIME = timedelta(minutes=10)
# Who works with other people's money and data proves who they are twice.
MFA_REQUIRED_ROLES = words(
    "MFA_REQUIRED_ROLES",
    HIGHEST_FIRST,
    default=[Role.ADMIN.value, Role.MANAGER.value] if PRODUCTION else [],
)
# How long a right password waits for its second factor.
MFA_PENDING_LIFETIME = timedelta(minutes=5)
SESSIONS_PER_USER = number("SESSIONS_PER_USER", 20, least=1)
# Whether people are told of a log-in with a browser they have not used before; each notice may cost an SMS.
LOGIN_NOTICES = flag("LOGIN_NOTICES", True)
LOGIN_SESSION_MODEL = "accounts.LoginSession"
JWT_ISSUER = PUBLIC_URL
JWT_AUDIENCE = "kilabu-api"
SESSION_COOKIE_SECURE = SECURE_COOKIES
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Strict"
# Whether who is logged in to the admin may use the API too, as its page docs/ does; else the cookie stays in the admin.
ADMIN_SESSION_ON_API = flag("ADMIN_SESSION_ON_API", True)
SESSION_COOKIE_PATH = "/" if ADMIN_SESSION_ON_API else "/admin/"
SESSION_COOKIE_AGE = int(timedelta(hours=8).total_seconds())
X_FRAME_OPTIONS = "DENY"
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
SECURE_SSL_REDIRECT = flag("SECURE_SSL_REDIRECT", PRODUCTION)
SECURE_HSTS_SECONDS = number("SECURE_HSTS_SECONDS", 31_536_000 if PRODUCTION else 0)
SECURE_HSTS_INCLUDE_SUBDOMAINS = PRODUCTION
SECURE_HSTS_PRELOAD = PRODUCTION
# Only behind a proxy that overwrites the header itself.
if flag("BEHIND_HTTPS_PROXY", False):
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")

# Keys by id: "2026-11=key of 32 bytes or more". To rotate: add one, make it active, remove the old after 30 days.
pairs = [
    entry.partition("=")[::2]
    for entry in required_in_production("JWT_KEYS", "development=development-only-jwt-key-" + "y" * 32).split(",")
]
JWT_KEYS = {kid: {"alg": "HS256", "key": key} for kid, key in pairs}
JWT_ACTIVE_KID = required_in_production("JWT_ACTIVE_KID", "development")
if not all(kid and len(key.encode()) >= 32 for kid, key in pairs):
    raise ImproperlyConfigured("JWT_KEYS must be kid=key pairs with keys of at least 32 bytes.")
if len({kid for kid, _ in pairs}) < len(pairs) or len({key for _, key in pairs}) < len(pairs):
    raise ImproperlyConfigured("JWT_KEYS must not hold an id or a key twice.")
if SECRET_KEY in {key for _, key in pairs}:
    raise ImproperlyConfigured("JWT_KEYS must not hold SECRET_KEY.")
if JWT_ACTIVE_KID not in JWT_KEYS:
    raise ImproperlyConfigured("JWT_ACTIVE_KID is not one of JWT_KEYS.")

AUTHENTICATION_BACKENDS = ["accounts.backends.IdentifierBackend"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 10}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
# Each takes 19 MiB while it is made. More at once than processors gain nothing.
PASSWORD_HASHES_AT_ONCE = number("PASSWORD_HASHES_AT_ONCE", 4, least=1, most=100)
# Argon2id at 19 MiB, two passes, one lane (OWASP Password Storage Cheat Sheet). Tests hash fast and badly.
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"] if TESTING else ["accounts.hashers.Argon2idHasher"]

# Proxies of our own whose X-Forwarded-For is believed, as networks.
TRUSTED_PROXIES = networks("TRUSTED_PROXIES")

# --- E-mail and SMS ------------------------------------------------------------------------------

EMAIL_CONFIG = email_server("EMAIL_URL", "smtp://localhost:25" if PRODUCTION else "consolemail://")
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
    "DESCRIPTION": "Memberships over M-Pesa. docs/api.md shows how a single-page client lives with it.",
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
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "api.schema.add_components",
    ],
}

# --- Jobs ----------------------------------------------------------------------------------------

PROCRASTINATE_AUTODISCOVER_MODULE_NAME = "jobs"
PROCRASTINATE_WORKER_DEFAULTS = {
    # Most jobs wait for Safaricom; each has a thread of its own.
    "concurrency": number("WORKER_CONCURRENCY", 10, least=1, most=100),
    # Seconds. A new job announces itself; one that waited for another's lock, or whose announcement was lost, does not.
    "fetch_job_polling_interval": 1.0,
}

# --- M-Pesa (Safaricom's Daraja API) -------------------------------------------------------------

# "simulator" is payments/simulator on this machine; the other two are Safaricom's own hosts.
DARAJA_ENVIRONMENT = choice(
    "DARAJA_ENVIRONMENT", ("simulator", "sandbox", "production"), default=None if PRODUCTION else "simulator"
)
if PRODUCTION and DARAJA_ENVIRONMENT == "simulator":
    raise ImproperlyConfigured("DARAJA_ENVIRONMENT must not be simulator in production.")
# The sandbox values are public (Daraja portal, "Test Credentials"); they are the simulator's too.
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
# Paybill: both are the paybill. Buy goods: the store (head office) number, and the till customers see.
DARAJA_SHORTCODE = env.str("DARAJA_SHORTCODE", default="174379" if not PRODUCTION else "")
DARAJA_TILL = env.str("DARAJA_TILL", default="")
for name in ("DARAJA_CONSUMER_KEY", "DARAJA_CONSUMER_SECRET", "DARAJA_PASSKEY", "DARAJA_SHORTCODE"):
    if PRODUCTION and not globals()[name]:
        raise ImproperlyConfigured(f"{name} is not set.")
for name in ("DARAJA_SHORTCODE", "DARAJA_TILL"):
    if globals()[name] and not re.fullmatch(r"[0-9]{5,7}", globals()[name]):
        raise ImproperlyConfigured(f"{name} must be 5 to 7 digits.")
# Stands in the path of the paybill's confirmation and validation addresses; no words Safaricom bars.
C2B_SECRET = secret("C2B_SECRET", "development-only-paybill-secret-" + "x" * 8)
# Whether M-Pesa's question "may this payment proceed?" is answered with what we know, or always with yes.
C2B_VALIDATION = flag("C2B_VALIDATION", False)
# For Transaction Status: an API operator of the shortcode, and its password as the portal encrypts it. May be empty.
DARAJA_INITIATOR = env.str("DARAJA_INITIATOR", default="simulator" if SIMULATED else "")
DARAJA_SECURITY_CREDENTIAL = env.str("DARAJA_SECURITY_CREDENTIAL", default="simulator" if SIMULATED else "")
# For `manage.py tunnel`: the token of an account at ngrok.com.
NGROK_AUTHTOKEN = env.str("NGROK_AUTHTOKEN", default="")
# Safaricom publishes no rate; over its own it answers "Spike Arrest Violation".
DARAJA_CALLS_PER_SECOND = number("DARAJA_CALLS_PER_SECOND", 20, least=1, most=1000)
# Safaricom: at most KES 250,000 a transaction (Daraja portal, M-Pesa Express).
MPESA_MAX_AMOUNT = number("MPESA_MAX_AMOUNT", 250_000, least=1)
# How long a payment waits for its money before it is shown as expired; late money still pays it.
PAYMENT_LIFETIME = timedelta(hours=number("PAYMENT_LIFETIME_HOURS", 72, least=1))

# Where a test wants this process to die (payments/failpoints.py).
FAILPOINT = os.environ.get("FAILPOINT", "") if TESTING else ""

# How long the raw bytes of callbacks that were acted on are kept; their rows stay.
CALLBACK_BODY_DAYS = number("CALLBACK_BODY_DAYS", 365, least=30)

# --- Language, time, files -----------------------------------------------------------------------

LANGUAGE_CODE = "en"
LANGUAGES = [("en", "English"), ("sw", "Kiswahili")]
# Instants are stored in UTC; business days are Nairobi's (UTC+3, no daylight saving).
TIME_ZONE = "Africa/Nairobi"
USE_TZ = True
FORMAT_MODULE_PATH = "config.formats"
STATIC_URL = "static/"
STATICFILES_DIRS = [BASE_DIR / "config" / "desk" / "static"]
STATIC_ROOT = BASE_DIR / "staticfiles"
WHITENOISE_USE_FINDERS = not PRODUCTION
# Outside production files are looked up as they are asked for: STATIC_ROOT need not exist.
WHITENOISE_AUTOREFRESH = not PRODUCTION
MEDIA_URL = "media/"
MEDIA_ROOT = Path(env.str("MEDIA_ROOT", default=str(BASE_DIR / "media")))
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        "BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"
        if PRODUCTION
        else "django.contrib.staticfiles.storage.StaticFilesStorage"
    },
}

# --- Logs: to standard error, masked, with the request's id ---------------------------------------

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "plain": {"()": "api.logs.PlainFormatter", "format": "%(levelname)s %(name)s: %(message)s"},
        "json": {"()": "api.logs.JsonFormatter"},
    },
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "json" if PRODUCTION else "plain"}},
    "root": {
        "handlers": ["stderr"],
        "level": choice("LOG_LEVEL", ("DEBUG", "INFO", "WARNING", "ERROR"), default="INFO"),
    },
    "loggers": {
        "django": {"handlers": [], "level": "INFO", "propagate": True},
        "django.server": {"handlers": []},
        "procrastinate": {"level": "WARNING"},  # it tells each job's coming and going
        "fontTools": {"level": "WARNING"},  # it tells each letter of each paper
    },
}

# --- Club ----------------------------------------------------------------------------------------

CLUB_NAME = env.str("CLUB_NAME", default="Kilabu Fitness")
# Where the terms stand that whoever joins agrees to; empty: the words alone.
CLUB_TERMS_URL = env.str("CLUB_TERMS_URL", default="")
if CLUB_TERMS_URL and not re.fullmatch(r"https?://[^/\s]+(/\S*)?", CLUB_TERMS_URL):
    raise ImproperlyConfigured("CLUB_TERMS_URL must be an address such as https://club.example/terms.")
OTP_TOTP_ISSUER = CLUB_NAME  # the name that authenticator apps show

# --- The admin's theme --------------------------------------------------------------------------------

UNFOLD = {
    "SITE_TITLE": CLUB_NAME,
    "SITE_HEADER": CLUB_NAME,
    "SITE_SYMBOL": "fitness_center",
    "SITE_URL": None,
    "SIDEBAR": {"show_search": True, "navigation": "config.desk.sidebar.navigation"},
    "DASHBOARD_CALLBACK": "config.desk.dashboard.add_figures",
    "STYLES": [lambda request: static("desk/desk.css")],
    "COLORS": theme.COLORS,
}
