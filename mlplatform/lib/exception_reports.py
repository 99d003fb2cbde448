"""What Django's page of an error under ``DEBUG`` leaves out: it hides settings by their names, and some URLs hold a password."""

import re
from typing import Final

from django.views.debug import SafeExceptionReporterFilter

_OF_URLS: Final = "REDIS_URL|BROKER_URL|DATABASE_URL|EMAIL_URL|STORAGE_URL|LOCATION"


class ReportFilter(SafeExceptionReporterFilter):
    """Hides what Django hides, and settings with the URL of a server that asks for a password."""

    hidden_settings = re.compile(f"{SafeExceptionReporterFilter.hidden_settings.pattern}|{_OF_URLS}", re.IGNORECASE)
