"""``python -m mlplatform.http``: one web process."""

import os


def main() -> None:
    """Serve until TERM."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mlplatform.settings")
    from mlplatform.wsgi import application  # Sets Django up, which the rest needs.

    from mlplatform.http import serving  # isort: skip

    serving.serve(application)


if __name__ == "__main__":
    main()
