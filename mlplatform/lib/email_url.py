"""``EMAIL_URL`` to Django's e-mail settings."""

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl, quote, unquote, urlsplit


@dataclass(frozen=True, slots=True)
class Mail:
    """How e-mail leaves: a Django backend, and what it needs. ``file_path`` is the folder of the backend that writes files."""

    backend: str
    host: str = ""
    port: int = 25
    user: str = ""
    password: str = ""
    starttls: bool = False
    tls: bool = False
    file_path: str = ""


def of_folder(path: Path) -> str:
    """The URL of a folder into which mails are written, whatever characters its path has."""
    return f"file://{quote(str(path.absolute()))}"


def parse(url: str) -> Mail:
    """``smtp://user:password@host:587?starttls=true``, ``smtps://user:password@host``, ``file:///folder`` or ``console:``.

    Raises ValueError for anything else, and never ignores a part: a lost ``starttls`` would send passwords in the clear.
    """
    parts = urlsplit(url)
    if parts.fragment:
        raise ValueError("EMAIL_URL: write # as %23")
    options = dict(parse_qsl(parts.query, strict_parsing=True)) if parts.query else {}
    starttls = options.pop("starttls", "false")
    if options or starttls not in {"true", "false"} or (starttls == "true" and parts.scheme != "smtp"):
        raise ValueError("EMAIL_URL: the only option is starttls=true, of smtp")
    if parts.scheme == "console" and not parts.netloc and not parts.path:
        return Mail("django.core.mail.backends.console.EmailBackend")
    if parts.scheme == "file" and not parts.netloc and len(parts.path) > 1:
        return Mail("django.core.mail.backends.filebased.EmailBackend", file_path=unquote(parts.path))
    if parts.scheme in {"smtp", "smtps"} and parts.hostname and parts.path in {"", "/"}:
        if parts.username and starttls != "true" and parts.scheme == "smtp" and not _here(parts.hostname):
            raise ValueError("EMAIL_URL: a password goes over smtps, or smtp with starttls=true")
        return Mail(
            "django.core.mail.backends.smtp.EmailBackend",
            host=unquote(parts.hostname),
            port=parts.port or (465 if parts.scheme == "smtps" else 587 if starttls == "true" else 25),
            user=unquote(parts.username or ""),
            password=unquote(parts.password or ""),
            starttls=starttls == "true",
            tls=parts.scheme == "smtps",
        )
    raise ValueError("EMAIL_URL: write smtp://host, smtps://user:password@host, file:///folder or console:")


def _here(host: str) -> bool:
    return host in {"localhost", "127.0.0.1", "::1"}
