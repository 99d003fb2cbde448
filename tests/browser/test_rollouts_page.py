"""The page "Rollouts" in real Chromium: a canary watched, stopped and begun, and a rollback in one click."""

import os
from pathlib import Path

import pytest

from inference.registry import versions
from inference.registry.rollouts import trials
from inference.trials import canary, counting, judging
from tests.browser.test_admin_pages import Watched, addresses, tab
from tests.support.tiny_model import make_version

__all__ = ["addresses", "tab"]

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def path(db: None) -> str:
    """Of ``tiny``: 2.0.0 was promoted after 1.0.0, and 3.0.0 is tried on some tenants and as a shadow."""
    make_version()
    versions.promote(version=make_version(version="2.0.0", state="ready"))
    candidate = make_version(version="3.0.0", state="ready")
    row = trials.start_canary(version=candidate, percent=5)
    shadow = trials.start_shadow(version=candidate, percent=10)
    for arm, failed, ms in (("canary", 3, 14.0), ("live", 1, 9.0)):
        for _ in range(200):
            counting.add(row.pk, arm, {"calls": 1}, bucket=judging.bucket(ms))
        counting.add(row.pk, arm, {"errors": failed})
    counting.add(shadow.pk, "shadow", {"compared": 400, "agreed": 391, "difference_ppm": 2_400_000, "dropped": 3})
    counting.flush()
    canary.judge_all()
    return f"{candidate.model_id}/rollouts/"


def shot(tab: Watched, name: str) -> None:
    """``SCREENSHOTS`` names a folder for pictures of the pages."""
    folder = os.environ.get("SCREENSHOTS")
    if folder and tab.page.viewport_size:
        tab.page.screenshot(path=Path(folder) / f"{name}-{tab.page.viewport_size['width']}.png", full_page=True)


def test_a_canary_and_a_rollback_by_hand(path: str, tab: Watched, addresses: dict[str, str]) -> None:
    page = tab.page
    page.goto(addresses["models"] + path)
    assert "2.0.0 is live" in page.inner_text("section:has-text('tiny') >> nth=0")
    tried = page.inner_text("section:has(h2:has-text('Canary'))")
    assert "answers 5 % of the tenants" in tried
    assert "1.5%" in tried
    assert "97.8%" in page.inner_text("section:has(h2:has-text('Shadow'))")
    assert tab.cut_off <= 0
    shot(tab, "rollouts")
    page.click("text=Stop the canary")
    page.wait_for_selector("text=The canary is stopped.")
    form = "form:has(input[value=start_canary])"
    page.fill(f"{form} [name=percent]", "0")
    page.click("text=Start the canary")
    page.wait_for_selector("text=greater than or equal to 1")
    page.fill(f"{form} [name=percent]", "25")
    page.click("text=Start the canary")
    page.wait_for_selector("text=tiny@3.0.0 answers 25 % of the tenants.")
    page.click("text=Roll back to 1.0.0")
    page.wait_for_selector("text=tiny@1.0.0 is live again.")
    assert "rolled back" in page.inner_text("section:has(h2:has-text('History'))").lower()
    assert "tiny@1.0.0 became live." in page.inner_text("section:has(h2:has-text('What was tried'))")
    shot(tab, "rolled-back")
    assert tab.cut_off <= 0
    assert tab.problems == []
