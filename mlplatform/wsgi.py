"""The WSGI application: what the threads of a web process run. Ordinary predictions never come here: see ``http/door.py``."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mlplatform.settings")

application = get_wsgi_application()
