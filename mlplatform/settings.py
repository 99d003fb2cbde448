"""Every setting, on one page. Values that differ between installations come from the environment.

``docs/settings.md`` lists the variables; system checks (``mlplatform/checks.py``) verify them with IDs and hints.
"""

from pathlib import Path
from typing import Any

from django.templatetags.static import static
from django.urls import reverse_lazy
from redis.backoff import NoBackoff
from redis.retry import Retry

from mlplatform.lib import database_url, email_url, redis_urls, storage_url
from mlplatform.lib import env as environment

BASE_DIR = Path(__file__).resolve().parent.parent
env = environment.reader()

# --- Places and processes -------------------------------------------------------------------------------------------
DATA_DIR = Path(env.str("DATA_DIR", str(BASE_DIR / "var"))).absolute()
MODELS_DIR = DATA_DIR / "models"
WEB_HOST = env.str("WEB_HOST", "127.0.0.1")
WEB_PORT = env.int("WEB_PORT", 8000)
GRPC_PORT = env.int("GRPC_PORT", 50051)
BASE_URL = env.str("BASE_URL", "") or f"http://{WEB_HOST}:{WEB_PORT}"
WORKER_DEVICE = env.str("WORKER_DEVICE", "auto")
WORKER_TORCH_THREADS = env.int("WORKER_TORCH_THREADS", 0)  # 0: one less than the cores, at least one
WORKER_MEMORY_MB = env.int("WORKER_MEMORY_MB", 0)  # weights; 0: half of the machine's memory, or 80 % of the GPU's
WORKER_NAME = env.str("WORKER_NAME", "")  # empty: the first free place of its pool on this machine

# --- Django ----------------------------------------------------------------------------------------------------------
DEBUG = env.bool("DEBUG", False)
SECRET_KEY = environment.secret_key(env, DATA_DIR)
ALLOWED_HOSTS: list[str] = env.list("ALLOWED_HOSTS", ["localhost", "127.0.0.1", "[::1]"])
CSRF_TRUSTED_ORIGINS: list[str] = env.list("CSRF_TRUSTED_ORIGINS", [])
CORS_ALLOWED_ORIGINS: list[str] = env.list("CORS_ALLOWED_ORIGINS", [])
TRUSTED_PROXIES = env.int("TRUSTED_PROXIES", 0)
ROOT_URLCONF = "mlplatform.urls"
WSGI_APPLICATION = "mlplatform.wsgi.application"
AUTH_USER_MODEL = "tenants.User"
CSRF_FAILURE_VIEW = "mlplatform.error_pages.csrf_failure"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
APPEND_SLASH = (
    True  # for /admin and what is below it; API calls do not come by the middleware that looks (ApiCallsMiddleware)
)
USE_TZ = True
TIME_ZONE = "UTC"
LANGUAGE_CODE = "en-us"
USE_I18N = False
FORMAT_MODULE_PATH = ["mlplatform.formats"]  # moments on pages; DATETIME_FORMAT here would lose to Django's for English

INSTALLED_APPS = [
    "unfold",
    "unfold.contrib.filters",
    "tenants",
    "billing",
    "inference",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "django.forms",
    "rest_framework",
    "graphene_django",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "auditlog",
    "mlplatform.platform_app.PlatformConfig",
]

MIDDLEWARE = [
    "mlplatform.middleware.request_context.RequestContextMiddleware",
    "mlplatform.http.compression.CompressionMiddleware",
    "mlplatform.middleware.api_calls.ApiCallsMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "mlplatform.middleware.content_security.ContentSecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "mlplatform.http.peoples_bodies.PeoplesBodiesMiddleware",
    "mlplatform.middleware.sent_once.SentOnceMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "mlplatform.middleware.audit_context.AuditContextMiddleware",
    "mlplatform.middleware.known_browsers.KnownBrowsersMiddleware",
]

TEMPLATES: list[dict[str, Any]] = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "OPTIONS": {
            "loaders": [
                (
                    "django.template.loaders.cached.Loader",
                    ["django.template.loaders.filesystem.Loader", "mlplatform.template_loaders.AppDirectories"],
                )
            ],
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    }
]

FORM_RENDERER = "django.forms.renderers.TemplatesSetting"  # widgets by the loaders above

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 12}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
]

# --- Security: on unless the installation is plain http on one machine ------------------------------------------------
HTTPS = env.bool("HTTPS", False)
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = HTTPS
SECURE_SSL_REDIRECT = HTTPS
SECURE_HSTS_SECONDS = 31_536_000 if HTTPS else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = HTTPS
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if TRUSTED_PROXIES else None
SECURE_REDIRECT_EXEMPT = [r"^livez$", r"^readyz$"]
SESSION_COOKIE_HTTPONLY = True
X_FRAME_OPTIONS = "DENY"
DEFAULT_EXCEPTION_REPORTER_FILTER = "mlplatform.lib.exception_reports.ReportFilter"

# --- SQL: the truth ----------------------------------------------------------------------------------------------------
DATABASES = {
    "default": database_url.parse(env.str("DATABASE_URL", "") or database_url.of_sqlite_file(DATA_DIR / "db.sqlite3"))
}

# --- Redis: state must not lose or repeat a write; cache may vanish --------------------------------------------------
_state = redis_urls.find(env.str("REDIS_URL", ""), variable="REDIS_URL", role="state", data_dir=DATA_DIR)
_cache = redis_urls.find(env.str("CACHE_REDIS_URL", ""), variable="CACHE_REDIS_URL", role="cache", data_dir=DATA_DIR)
REDIS_URL, CACHE_REDIS_URL = _state.url, _cache.url
# Where each was read, for messages; empty where neither the variable nor a run of this DATA_DIR names one.
REDIS_URL_SOURCE, CACHE_REDIS_URL_SOURCE = _state.source, _cache.source
REDIS_TIMEOUT_S = env.float("REDIS_TIMEOUT_S", 0.2)


def _redis_cache(url: str, prefix: str, *, may_fail: bool = False) -> dict[str, Any]:
    return {
        "BACKEND": "django_redis.cache.RedisCache",
        "LOCATION": url,
        "KEY_PREFIX": prefix,
        "OPTIONS": {
            "CLIENT_CLASS": "django_redis.client.DefaultClient",
            # Only where a miss is a right answer: pages go on without their cache, counters must not.
            "IGNORE_EXCEPTIONS": may_fail,
            "CONNECTION_POOL_KWARGS": {
                "socket_timeout": REDIS_TIMEOUT_S,
                "socket_connect_timeout": REDIS_TIMEOUT_S,
                # redis-py tries ten times by default: with a stalled server one INCR was applied twice.
                "retry": Retry(NoBackoff(), 0),
                "max_connections": 1000,
                "health_check_interval": 0,
            },
        },
    }


CACHES = {
    "default": _redis_cache(CACHE_REDIS_URL, "django", may_fail=True),
    "state": _redis_cache(REDIS_URL, "django"),
    "predictions": _redis_cache(CACHE_REDIS_URL, ""),
}

# --- Celery ----------------------------------------------------------------------------------------------------------
CELERY_BROKER_URL = env.str("BROKER_URL", "") or REDIS_URL
CELERY_BROKER_TRANSPORT = "mlplatform.broker:Transport"
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_DEFAULT_QUEUE = "jobs"
CELERY_TASK_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_TIMEZONE = "UTC"
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
# Workers take no commands through Celery: staff drain them by an order in Redis. So two of one name may run side by side.
CELERY_WORKER_ENABLE_REMOTE_CONTROL = False
CELERY_WORKER_SOFT_SHUTDOWN_TIMEOUT = 10.0
CELERY_WORKER_ENABLE_SOFT_SHUTDOWN_ON_IDLE = False
CELERY_WORKER_CANCEL_LONG_RUNNING_TASKS_ON_CONNECTION_LOSS = False
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_CONNECTION_MAX_RETRIES = None
CELERY_BROKER_TRANSPORT_OPTIONS = {
    "visibility_timeout": 120,
    "unacked_restore_interval": 5,
    "global_keyprefix": "celery:",
    # Bodies are JSON, which needs no base64 around it.
    "body_encoding": None,
    "socket_timeout": 5.0,
    "socket_connect_timeout": 1.0,
    "health_check_interval": 25,
}
CELERY_BEAT_SCHEDULE = {
    "drain-usage": {"task": "billing.drain_usage", "schedule": 1.0, "options": {"expires": 5}},
    "sweep-holds": {"task": "billing.sweep_holds", "schedule": 20.0, "options": {"expires": 15}},
    "flush-last-used": {"task": "tenants.flush_last_used", "schedule": 60.0, "options": {"expires": 50}},
    "tell-deprecations": {"task": "inference.tell_deprecations", "schedule": 60.0, "options": {"expires": 50}},
    "sweep-rehearsals": {"task": "inference.sweep_rehearsals", "schedule": 30.0, "options": {"expires": 25}},
    "judge-rollouts": {"task": "inference.judge_rollouts", "schedule": 5.0, "options": {"expires": 5}},
    "purge-samples": {"task": "inference.purge_samples", "schedule": 3600.0, "options": {"expires": 3000}},
}

# --- The path of a request -------------------------------------------------------------------------------------------
MAX_BODY_BYTES = env.int("MAX_BODY_BYTES", 2 * 1024 * 1024)
DATA_UPLOAD_MAX_MEMORY_SIZE = MAX_BODY_BYTES
MAX_BATCH_REQUESTS = env.int("MAX_BATCH_REQUESTS", 256)
MAX_CALL_PIXELS = env.int("MAX_CALL_PIXELS", 100_000_000)  # of all images of a call, as their files have them
PIXELS_PER_KEY_PER_S = env.int("PIXELS_PER_KEY_PER_S", 50_000_000)  # that a process unpacks for one key
OPENAI_MAX_INPUTS = env.int("OPENAI_MAX_INPUTS", 2048)
PREDICT_TIMEOUT_S = env.float("PREDICT_TIMEOUT_S", 30.0)
CALLER_CACHE_S = 30.0
BATCHES_IN_FLIGHT = env.int("BATCHES_IN_FLIGHT", 2)
MAX_QUEUED_INPUTS = env.int("MAX_QUEUED_INPUTS", 2048)
MAX_QUEUED_BYTES = env.int("MAX_QUEUED_BYTES", 64 * 1024 * 1024)
# While several tenants want the same workers a batch takes about this long, so that no tenant waits long behind another.
SHARED_BATCH_S = env.float("SHARED_BATCH_S", 0.05)
# Calls of one process that may wait for a worker on a thread of their own; ordinary predictions wait on the event loop.
MAX_WAITING_CALLS = env.int("MAX_WAITING_CALLS", 0) or max(1, env.int("WEB_THREADS", 128) * 3 // 4)
LOCAL_CACHE_BYTES = env.int("LOCAL_CACHE_BYTES", 64 * 1024 * 1024)
MAX_CACHED_ENTRY_BYTES = env.int("MAX_CACHED_ENTRY_BYTES", 1024 * 1024)
DEFAULT_API_VERSION = env.str("DEFAULT_API_VERSION", "v2")
BROWNOUT_NOTICE_H = env.float("BROWNOUT_NOTICE_H", 24.0)  # less needs a confirmation of staff

# --- The HTTP front: what a client may take of a web process ----------------------------------------------------------
WEB_HEADERS_S = env.float("WEB_HEADERS_S", 10.0)
WEB_BODY_S = env.float("WEB_BODY_S", 60.0)  # PUSH_BODY_S where packages go
WEB_BODY_GRACE_S = env.float("WEB_BODY_GRACE_S", 10.0)
WEB_BODY_BYTES_PER_S = env.int("WEB_BODY_BYTES_PER_S", 1024)  # when the grace has passed
WEB_BODIES_PER_ADDRESS = env.int("WEB_BODIES_PER_ADDRESS", 128)  # half-sent at the same time, of each process
WEB_BODIES_PER_KEY = env.int("WEB_BODIES_PER_KEY", 64)
WEB_BODIES_BYTES = env.int("WEB_BODIES_BYTES", 512 * 1024 * 1024)  # in memory, of each process
WEB_UPLOADS = env.int("WEB_UPLOADS", 8)  # packages that come in at the same time
WEB_READER_S = env.float("WEB_READER_S", 30.0)
WEB_KEEP_ALIVE_S = env.float("WEB_KEEP_ALIVE_S", 75.0)
WEB_CONNECTIONS = env.int("WEB_CONNECTIONS", 4096)
WEB_WAITING = env.int("WEB_WAITING", 1024)  # whole requests that wait for a thread
WEB_DRAIN_S = env.float("WEB_DRAIN_S", 32.0)

# --- gRPC --------------------------------------------------------------------------------------------------------------
GRPC_HOST = env.str("GRPC_HOST", WEB_HOST)
GRPC_THREADS = env.int("GRPC_THREADS", 64)
GRPC_MAX_MESSAGE_BYTES = env.int("GRPC_MAX_MESSAGE_BYTES", 4 * 1024 * 1024)
GRPC_TLS_CERT = env.str("GRPC_TLS_CERT", "")  # PEM files; both or none
GRPC_TLS_KEY = env.str("GRPC_TLS_KEY", "")
GRPC_TLS_CLIENT_CA = env.str("GRPC_TLS_CLIENT_CA", "")  # set: clients must show a certificate of this authority
GRPC_DRAIN_S = env.float("GRPC_DRAIN_S", 30.0)

# --- GraphQL -----------------------------------------------------------------------------------------------------------
GRAPHENE = {"SCHEMA": "mlplatform.schema.schema"}
GRAPHQL_MAX_DEPTH = env.int("GRAPHQL_MAX_DEPTH", 12)
GRAPHQL_MAX_ALIASES = env.int("GRAPHQL_MAX_ALIASES", 30)
GRAPHQL_MAX_TOKENS = env.int("GRAPHQL_MAX_TOKENS", 2_000)
GRAPHQL_MAX_COST = env.int("GRAPHQL_MAX_COST", 10_000)
GRAPHQL_MAX_OPERATIONS = env.int("GRAPHQL_MAX_OPERATIONS", 10)

RATELIMIT_USE_CACHE = "state"
RATELIMIT_FAIL_OPEN = False
WRONG_KEYS_PER_ADDRESS = env.str("WRONG_KEYS_PER_ADDRESS", "30/m")
LOGINS_PER_ADDRESS = env.str("LOGINS_PER_ADDRESS", "20/m")
LOGINS_PER_ACCOUNT = env.str("LOGINS_PER_ACCOUNT", "10/m")

METRICS_TOKEN = env.str("METRICS_TOKEN", "")  # /metrics answers loopback peers, and others only with this token

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [],
    "DEFAULT_PERMISSION_CLASSES": [],
    "DEFAULT_PARSER_CLASSES": [],  # bodies are read by mlplatform.lib.request_body
    "DEFAULT_RENDERER_CLASSES": ["tenants.rest.renderers.OrjsonRenderer"],
    "DEFAULT_SCHEMA_CLASS": "tenants.rest.openapi.ApiSchema",
    "EXCEPTION_HANDLER": "tenants.http.problems.exception_handler",
    "UNAUTHENTICATED_USER": None,
}
SPECTACULAR_SETTINGS = {
    # It would read the views of all API versions as one document. Ours are made of declarations, one document an API
    # version, and tests/mlplatform/docs compares them with snapshots and with what the API really answers.
    "ENABLE_DJANGO_DEPLOY_CHECK": False,
    "TITLE": "mlplatform API",
    "DESCRIPTION": "Predictions of machine-learning models, authenticated, limited, cached and metered.",
    "VERSION": "2",
    "SERVE_INCLUDE_SCHEMA": False,
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "REDOC_DIST": "SIDECAR",
}

# --- E-mail: without EMAIL_URL each mail is a file that one can read ---------------------------------------------------
_mail = email_url.parse(env.str("EMAIL_URL", "") or email_url.of_folder(DATA_DIR / "outbox"))
EMAIL_BACKEND = _mail.backend
EMAIL_HOST, EMAIL_PORT = _mail.host, _mail.port
EMAIL_HOST_USER, EMAIL_HOST_PASSWORD = _mail.user, _mail.password
EMAIL_USE_TLS, EMAIL_USE_SSL = _mail.starttls, _mail.tls
EMAIL_FILE_PATH = _mail.file_path or None
EMAIL_TIMEOUT = 20
DEFAULT_FROM_EMAIL = env.str("DEFAULT_FROM_EMAIL", "") or "mlplatform <no-reply@localhost>"

# --- Models that are pushed: where their files lie, and how large they may be -----------------------------------------
_models_url = env.str("MODELS_STORAGE_URL", "")
STORAGES = {
    "default": {
        "BACKEND": "django.core.files.storage.FileSystemStorage",
        "OPTIONS": {"location": str(DATA_DIR / "files")},
    },
    "staticfiles": {"BACKEND": "mlplatform.static_files.Storage"},
    "models": storage_url.parse(_models_url) if _models_url else storage_url.of_folder(MODELS_DIR),
}
MODELS_CACHE_DIR = DATA_DIR / "models-cache"  # where a worker keeps what it fetched, unless the storage is a folder
MODELS_CACHE_BYTES = env.int("MODELS_CACHE_BYTES", 20 * 1024**3)
MAX_PACKAGE_BYTES = env.int("MAX_PACKAGE_BYTES", 512 * 1024**2)  # of a zip that is uploaded
MAX_MODEL_BYTES = env.int("MAX_MODEL_BYTES", 4 * 1024**3)  # of its files unpacked, or of a folder that is pushed
# Where models run that tenants push: each in a process of its own, which a worker of this pool starts.
PRIVATE_MODELS_POOL = env.str("PRIVATE_MODELS_POOL", "private")
PRIVATE_BATCH_S = env.int("PRIVATE_BATCH_S", 5)  # of a processor, for one batch; twice that on the clock
PRIVATE_LOAD_S = env.int("PRIVATE_LOAD_S", 60)  # to load one and run it for the first time
PRIVATE_MODEL_MEMORY_MB = env.int("PRIVATE_MODEL_MEMORY_MB", 1024)  # beside three times its weights
PUSH_BODY_S = env.int("PUSH_BODY_S", 900)  # within which a package must have arrived
PUSHES_PER_TENANT = env.str("PUSHES_PER_TENANT", "30/h")  # over REST; each loads a model on a worker
# Of one tenant, retired versions left out, where its plan says nothing else.
MAX_PRIVATE_VERSIONS = env.int("MAX_PRIVATE_VERSIONS", 50)
MAX_PRIVATE_BYTES = env.int("MAX_PRIVATE_BYTES", 4 * 1024**3)
MAX_PRIVATE_MEMORY_MB = env.int("MAX_PRIVATE_MEMORY_MB", 8192)  # that its processes may take together in one worker
MIN_FREE_DISK_BYTES = env.int("MIN_FREE_DISK_BYTES", 1024**3)  # a push that would leave less is refused

# --- Static files, admin, audit ----------------------------------------------------------------------------------------
STATIC_URL = "/static/"
STATIC_ROOT = DATA_DIR / "static"
WHITENOISE_USE_FINDERS = True
WHITENOISE_KEEP_ONLY_HASHED_FILES = True
WHITENOISE_AUTOREFRESH = DEBUG
AUDITLOG_INCLUDE_ALL_MODELS = False
AUDITLOG_DISABLE_ON_RAW_SAVE = True
AUDITLOG_CID_GETTER = "mlplatform.lib.tracing.request_id"  # what one request changed is shown as one change
LOGIN_URL = reverse_lazy("admin:login")
UNFOLD: dict[str, Any] = {
    "SITE_TITLE": "mlplatform",
    "SITE_HEADER": "mlplatform",
    "SITE_SUBHEADER": "Staff admin",
    "SITE_ICON": lambda request: static("platform/favicon.svg"),
    "SITE_URL": None,
    "SITE_FAVICONS": [{"rel": "icon", "type": "image/svg+xml", "href": lambda request: static("platform/favicon.svg")}],
    "STYLES": [
        lambda request: static("platform/tokens.css"),
        lambda request: static("platform/ui.css"),
        lambda request: static("platform/admin.css"),
        lambda request: static("platform/charts.css"),
    ],
    "DASHBOARD_CALLBACK": "mlplatform.admin_dashboard.dashboard",
    "LOGIN": {"form": "tenants.login_form.GuardedAuthenticationForm"},
    "SHOW_VIEW_ON_SITE": False,
    "BORDER_RADIUS": "6px",
    # The palette of mlplatform/static/platform/tokens.css.
    "COLORS": {
        name: {shade: f"var(--{palette}-{shade})" for shade in ("50", *(str(n) for n in range(100, 1000, 100)), "950")}
        for name, palette in (("base", "grey"), ("primary", "blue"))
    },
    "SIDEBAR": {"navigation": "mlplatform.admin_navigation.navigation"},
}

# --- Logs: one line an event, always with the request id ---------------------------------------------------------------
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "filters": {"request_id": {"()": "mlplatform.middleware.request_context.RequestIdFilter"}},
    "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s [%(request_id)s] %(message)s"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line", "filters": ["request_id"]}},
    "root": {"handlers": ["console"], "level": env.str("LOG_LEVEL", "INFO")},
    "loggers": {
        "django.request": {"level": "ERROR"},
        "celery.worker.strategy": {"level": "WARNING"},
        "celery.app.trace": {"level": "WARNING"},
    },
}
