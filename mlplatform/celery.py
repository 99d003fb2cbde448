"""The Celery application: batches for the GPU workers on ``gpu``, everything else on ``jobs``."""

import logging
import os
from typing import Any

from celery import Celery
from celery.signals import beat_init, celeryd_init

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mlplatform.settings")

app = Celery("mlplatform")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks(["tenants", "billing", "inference"])
# Web processes send from threads of their own, and Celery's notion of the current application is a thread's.
app.set_default()


@celeryd_init.connect
@beat_init.connect
def _refuse_another_installations_redis(**_: Any) -> None:
    """Before a worker takes a task, or beat sends one: its Redis must be that of its database."""
    # Imported here: commands that only send tasks set Django up themselves, and later. A second time would send the
    # log to what Celery has put in the place of stderr, and with it nowhere.
    import django
    from django.apps import apps

    if not apps.ready:
        django.setup()
    from tenants import installation

    try:
        installation.at_start()
    except installation.ForeignRedisError as error:
        # Celery goes on after any other exception of a signal's receiver, and beat does not print this one.
        logging.getLogger(__name__).critical("%s", error)
        raise SystemExit(1) from error
