"""The page "Push a package" in real Chromium: what is wrong stands at the field, and a good zip becomes a staged version."""

from pathlib import Path

import pytest

from mlplatform.lib import enqueue
from tests.browser.test_admin_pages import Watched, addresses, tab
from tests.browser.test_rollouts_page import shot
from tests.support import packages
from tests.support.models_folder import models_dir

__all__ = ["addresses", "models_dir", "tab"]

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("models_dir")]


@pytest.mark.parametrize("tab", [390], indirect=True)  # the other widths are looked at with every page
def test_a_zip_is_refused_with_its_reason_and_another_staged(
    tab: Watched, addresses: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(enqueue, "send", lambda task, queue, kwargs: None)
    page = tab.page
    bad, good = tmp_path / "a-package-with-a-rather-long-name-2026-11-23.zip", tmp_path / "shapes.zip"
    bad.write_bytes(packages.zipped(packages.files() | {"a-folder/pytorch_model.bin": b"x"}))
    good.write_bytes(packages.zipped())
    page.goto(addresses["push"])
    shot(tab, "push")
    page.set_input_files("[type=file]", bad)
    page.click("button:has-text('Push')")
    page.wait_for_selector("text=pytorch_model.bin")
    shot(tab, "push-refused")
    assert tab.cut_off <= 0
    page.set_input_files("[type=file]", good)
    page.select_option("[name=owner]", label="Acme")
    page.click("button:has-text('Push')")
    page.wait_for_selector("text=shapes@1.0.0 is staged; a worker loads it and runs its examples.")
    shot(tab, "pushed")
    assert tab.cut_off <= 0
    assert tab.problems == []
