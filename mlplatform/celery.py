"""The Celery application: batches for the GPU workers on ``gpu``, everything else on ``jobs``."""

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mlplatform.settings")

app = Celery("mlplatform")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks(["tenants", "billing", "inference"])
# Web processes send from threads of their own, and Celery's notion of the current application is a thread's.
app.set_default()
