"""Notices as people read them: whole at the width of a desk and of a phone, and nothing is loaded from elsewhere."""

import os
from pathlib import Path
from typing import Any

import pytest
from django.core import mail
from playwright.sync_api import Browser, sync_playwright

from inference.deprecations.notices import sending as notices
from inference.deprecations.samples import store as samples
from tenants.deprecations import catalogue, schedules
from tests.browser.test_admin_pages import chromium
from tests.conftest import Customer
from tests.inference.deprecations.notices.telling import DAY, MINUTE, NOW, answer, caller_of, used, v1_ends
from tests.support.tiny_model import make_version
from tests.support.walked_clock import Walk, published_at_once, walk

__all__ = ["published_at_once", "walk"]

pytestmark = [pytest.mark.browser, pytest.mark.django_db, pytest.mark.usefixtures("published_at_once")]


@pytest.fixture
def letters(acme: Customer, walk: Walk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """One mail of each kind, as files."""
    tasks: list[dict[str, Any]] = []
    monkeypatch.setattr(notices, "enqueue", lambda task, **kwargs: tasks.append(kwargs))
    walk(NOW)
    make_version("sentiment", input_schema={"kind": "text", "max_chars": 5000})
    row = v1_ends()
    start = NOW + 100 * DAY
    schedules.plan_brownout(schedule=row, starts_at=start, ends_at=start + 60 * MINUTE, share=50, by=None)
    samples.opt_in(tenant=acme.tenant)
    used(acme, calls=48_211, model="sentiment")
    samples.offer(
        schedule=catalogue.frozen(row),
        caller=caller_of(acme),
        api_version="v1",
        model="sentiment",
        body={"model": "sentiment", "input": f"It's late, <again>: {'https://acme.example/' + 'x' * 120} & so on."},
        answer=answer(model="sentiment"),
    )
    samples.flush()
    notices.tell()
    notices.send(**tasks[0])
    walk(start - DAY)
    used(acme, calls=3, model="sentiment")
    notices.tell()
    notices.message(
        schedule=row,
        tenant_ids=[acme.tenant.pk],
        subject="Can we help you to move to v2?",
        text="We saw that your nightly import still calls v1.\n\nShall we look at it together?",
        by=acme.owner,
    )
    for task in tasks[1:]:
        notices.send(**task)
    paths = {}
    for index, sent in enumerate(mail.outbox):
        assert isinstance(sent, mail.EmailMultiAlternatives)
        paths[f"{index}"] = tmp_path / f"{index}.html"
        paths[f"{index}"].write_text(str(sent.alternatives[0][0]), encoding="utf-8")
    return paths


@pytest.mark.parametrize("width", [1280, 390])
def test_mails_are_whole_at_every_width(letters: dict[str, Path], width: int) -> None:
    assert len(letters) == 3
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        found = [_read(browser, path, width) for path in letters.values()]
        browser.close()
    assert found == [(0, [path.as_uri()], 1) for path in letters.values()]


def _read(browser: Browser, path: Path, width: int) -> tuple[int, list[str], int]:
    """How much wider than the window it is, everything that was loaded, and the number of links to the guide."""
    asked: list[str] = []
    page = browser.new_page(viewport={"width": width, "height": 900})
    page.on("request", lambda request: asked.append(request.url))
    page.goto(path.as_uri())
    overflow: int = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
    shots = os.environ.get("SCREENSHOTS", "")
    if shots:
        page.screenshot(path=f"{shots}/mail-{path.stem}-{width}.png", full_page=True)
    return overflow, asked, page.locator("a[href*='/docs/migrate/']").count()
