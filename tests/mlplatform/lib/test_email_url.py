"""No part of EMAIL_URL is ignored."""

from pathlib import Path

import pytest
from django.conf import settings
from django.core import mail

from mlplatform.lib import email_url
from mlplatform.lib.email_url import Mail

SMTP = "django.core.mail.backends.smtp.EmailBackend"


@pytest.mark.parametrize(
    ("url", "parsed"),
    [
        ("smtp://relay.example", Mail(SMTP, host="relay.example")),
        ("smtp://relay.example:2525/", Mail(SMTP, host="relay.example", port=2525)),
        (
            "smtp://us%40er:p%2Fa%3As%23s@relay.example?starttls=true",
            Mail(SMTP, host="relay.example", port=587, user="us@er", password="p/a:s#s", starttls=True),
        ),
        (
            "smtps://user:pw@relay.example",
            Mail(SMTP, host="relay.example", port=465, user="user", password="pw", tls=True),
        ),
        ("smtp://user:pw@localhost:1025", Mail(SMTP, host="localhost", port=1025, user="user", password="pw")),
        ("file:///var/mail%20box", Mail("django.core.mail.backends.filebased.EmailBackend", file_path="/var/mail box")),
        ("console:", Mail("django.core.mail.backends.console.EmailBackend")),
    ],
)
def test_every_part_counts(url: str, parsed: Mail) -> None:
    assert email_url.parse(url) == parsed


@pytest.mark.parametrize(
    "url",
    [
        "", "relay.example", "http://relay.example", "smtp://", "smtp://relay.example/path", "smtp://relay.example?tls=true",
        "smtp://relay.example?starttls=yes", "smtps://relay.example?starttls=true", "file://host/path", "file:///",
        "smtp://user:pw@relay.example", "smtp://user:p#w@relay.example", "console://x",
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="EMAIL_URL"):
        email_url.parse(url)


@pytest.mark.parametrize("path", ["/srv/a b", "/srv/50%20", "/srv/a#b?c", "/srv/größe"])
def test_a_folder_comes_back_whatever_its_path_has(path: str) -> None:
    assert email_url.parse(email_url.of_folder(Path(path))).file_path == path


def test_without_configuration_mails_are_files_that_one_can_read(tmp_path: Path) -> None:
    assert str(settings.DATA_DIR / "outbox") == settings.EMAIL_FILE_PATH
    connection = mail.get_connection(email_url.parse("file:///x").backend, file_path=str(tmp_path))
    mail.EmailMessage("Hello", "v1 ends", to=["owner@acme.example"], connection=connection).send()
    (written,) = tmp_path.iterdir()
    assert "Subject: Hello" in written.read_text()
