"""The WSGI application: predictions take a short way, everything else goes through Django."""

import os
from typing import Any

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mlplatform.settings")


def _application() -> Any:
    django = get_wsgi_application()
    # Imported when Django is set up: handlers need its models.
    from mlplatform.short_way import ShortWay

    return ShortWay(django)


application = _application()
