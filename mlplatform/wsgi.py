"""The WSGI application that Granian serves: predictions take a short way, everything else goes through Django."""

import multiprocessing
import os
from typing import Any

from django.core.wsgi import get_wsgi_application

from mlplatform import prompt_stop
from mlplatform.lib import collector

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mlplatform.settings")


def _application() -> Any:
    django = get_wsgi_application()
    # Imported when Django is set up: handlers need its models.
    from mlplatform.short_way import ShortWay
    from tenants import installation

    if multiprocessing.parent_process() is not None:  # a worker of Granian, not a command that imports this module
        prompt_stop.ensure()
        installation.at_start()
    return ShortWay(django)


application = _application()
collector.calm()
