"""``/docs/changelog`` and its feed: everything that was announced, newest first, and nothing else."""

import datetime as dt
import re
from typing import Any
from xml.etree import ElementTree

import feedparser  # type: ignore[import-untyped]
import pytest
from pytest_django import Settings

from mlplatform.docs import changelog
from tenants.deprecations import catalogue, schedules
from tenants.models import ApiVersion, Brownout
from tests.conftest import Customer
from tests.support.ending import DAY, make_schedule
from tests.support.live_worker import demo_models
from tests.support.rest import Api
from tests.support.walked_clock import Walk, walk

__all__ = ["demo_models", "walk"]

pytestmark = pytest.mark.django_db
NAMESPACE = "{http://www.w3.org/2005/Atom}"
START = dt.datetime(2027, 1, 1, tzinfo=dt.UTC)


@pytest.fixture(autouse=True)
def on_new_years_day(walk: Walk) -> None:
    walk(START)


def feed(query: str = "") -> Any:
    """The feed as a reader that is not ours understands it, which must have nothing to complain of."""
    answer = Api().get("/docs/changelog.atom", QUERY_STRING=query.removeprefix("?"))
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "application/atom+xml; charset=utf-8"
    parsed = feedparser.parse(answer.content)
    assert not parsed.bozo, parsed.bozo_exception
    assert parsed.version == "atom10"
    return parsed


def titles() -> list[str]:
    return [entry.title for entry in changelog.current().past]


def test_the_releases_are_there() -> None:
    assert titles() == ["API version v2 is released", "API version v1.1 is released", "API version v1 is released"]
    html = Api().get("/docs/changelog").content.decode()
    assert html.index("v2 is released") < html.index("v1.1 is released") < html.index("v1 is released")
    assert "<code>top_k</code>" in html, "the summary is Markdown"
    assert "Coming up" not in html
    assert 'href="/docs/changelog.atom"' in html


def test_it_is_filtered_by_an_api_version_or_a_model(demo_models: None) -> None:
    make_schedule(announced_days_ago=0, deprecated_days_ago=-60)
    make_schedule("model_version", "sentiment@1.0.0", "sentiment@2.0.0", announced_days_ago=0, deprecated_days_ago=-60)
    whole = Api().get("/docs/changelog").content.decode()
    for name in ("v1", "v2", "sentiment"):
        assert f'<option value="{name}">' in whole
    of_v1 = Api().get("/docs/changelog?about=v1").content.decode()
    assert "API version v1 will end" in of_v1
    assert "API version v1 is released" in of_v1
    assert '<option value="v1" selected>' in of_v1
    assert "API version v1 ends" in of_v1.partition("Coming up")[2]
    for other in ("API version v1.1 is released", "API version v2 is released", "sentiment@1.0.0 will end"):
        assert other in whole
        assert other not in of_v1
    of_model = Api().get("/docs/changelog?about=sentiment").content.decode()
    assert "sentiment@1.0.0 will end" in of_model
    assert "API version v1 will end" not in of_model
    assert {entry.title for entry in feed("?about=v1").entries} == {
        "API version v1 will end on 10 July 2027",
        "API version v1 is released",
    }
    assert feed("?about=v1").feed.id != feed().feed.id
    assert 'href="/docs/changelog.atom?about=v1"' in of_v1


@pytest.mark.parametrize("name", ["nobody", "<script>", "%00%0d", "v1@2", "x" * 3000])
def test_a_filter_that_fits_nothing_shows_nothing(name: str) -> None:
    answer = Api().get("/docs/changelog", QUERY_STRING=f"about={name}")
    assert answer.status == 200
    html = answer.content.decode()
    assert "Nothing has happened to" in html
    assert "is released" not in html
    assert "<script>" not in html
    assert feed(f"?about={name}").entries == []


def test_a_preview_is_no_release(walk: Walk) -> None:
    ApiVersion.objects.create(name="v3", released_at=START + DAY, summary="Soon.")
    ApiVersion.objects.create(name="v4", summary="Some day.")
    catalogue.forget()
    assert len(titles()) == 3
    walk(START + DAY)
    assert titles()[0] == "API version v3 is released"


def test_live_model_versions_are_there(demo_models: None) -> None:
    assert {"sentiment@1.0.0 is live", "digits@1.0.0 is live", "minilm@1.0.0 is live"} < set(titles())
    assert not [title for title in titles() if "2.0.0" in title], "ready is not live"


def test_a_schedule_from_secret_to_sunset(walk: Walk) -> None:
    row = make_schedule(announced_days_ago=-10, deprecated_days_ago=-30, sunset_in_days=230, reason="It says little.")
    before = Api().get("/docs/changelog").content + Api().get("/docs/changelog.atom").content
    assert b"It says little" not in before
    assert b"deprecated" not in before
    assert len(titles()) == 3
    walk(row.announce_at)
    assert titles()[0] == "API version v1 will end on 19 August 2027"
    assert [entry.title for entry in changelog.current().coming] == [
        "API version v1 is deprecated",
        "API version v1 ends",
    ]
    html = Api().get("/docs/changelog").content.decode()
    assert "It says little." in html
    assert "Coming up" in html
    assert 'href="/docs/migrate/v1-v2"' in html
    walk(row.deprecate_at)
    assert titles()[:2] == ["API version v1 is deprecated", "API version v1 will end on 19 August 2027"]
    assert [entry.title for entry in changelog.current().coming] == ["API version v1 ends"]
    walk(row.sunset_at)
    assert titles()[0] == "API version v1 has ended"
    assert changelog.current().coming == []
    assert [entry.at for entry in changelog.current().past] == sorted(
        (entry.at for entry in changelog.current().past), reverse=True
    )


def test_an_end_that_is_called_off(walk: Walk) -> None:
    row = make_schedule(announced_days_ago=1, deprecated_days_ago=-30, sunset_in_days=230)
    walk(START + DAY)
    schedules.cancel(row)
    catalogue.forget()
    walk(START + 40 * DAY)
    assert titles()[:2] == ["API version v1 stays: its end is called off", "API version v1 will end on 19 August 2027"]
    assert changelog.current().coming == []
    assert "API version v1 is deprecated" not in titles()


def test_what_was_called_off_before_it_was_announced_never_was(walk: Walk) -> None:
    row = make_schedule(announced_days_ago=-10, deprecated_days_ago=-30, sunset_in_days=230)
    schedules.cancel(row)
    walk(START + 300 * DAY)
    assert len(titles()) == 3


def test_brownouts_of_all_are_news_and_what_concerns_one_tenant_is_not(acme: Customer, walk: Walk) -> None:
    row = make_schedule(announced_days_ago=20, deprecated_days_ago=10, sunset_in_days=230)
    starts = START + 10 * DAY
    window = schedules.plan_brownout(
        schedule=row, starts_at=starts, ends_at=starts + dt.timedelta(hours=2), share=40, by=None
    )
    Brownout.objects.filter(pk=window.pk).update(created_at=START - DAY)
    stopped = schedules.plan_brownout(schedule=row, starts_at=starts + DAY, ends_at=starts + 2 * DAY, share=41, by=None)
    schedules.stop_brownout(stopped)
    schedules.rehearse_brownout(schedule_id=row.pk, tenant=acme.tenant, minutes=60, share=42)
    schedules.grant_extension(
        schedule=row, tenant=acme.tenant, until=row.sunset_at + 400 * DAY, reason="They asked.", approved_by=acme.owner
    )
    html = Api().get("/docs/changelog").content.decode() + Api().get("/docs/changelog.atom").content.decode()
    assert "40 % of the calls get <code>503</code> from 11 January 2027, 00:00 UTC until 02:00 UTC" in html
    for word in ("41 %", "42 %", "They asked", "Acme", "acme"):
        assert word not in html
    assert titles()[0] == "A brownout of API version v1 is planned for 11 January 2027"
    assert "Brownout of API version v1" in [entry.title for entry in changelog.current().coming]
    walk(starts + dt.timedelta(hours=2))
    assert "Brownout of API version v1" not in [entry.title for entry in changelog.current().coming]


def test_the_brownout_of_a_secret_schedule_is_secret() -> None:
    row = make_schedule(announced_days_ago=-10, deprecated_days_ago=-30, sunset_in_days=230)
    schedules.plan_brownout(schedule=row, starts_at=START + 40 * DAY, ends_at=START + 41 * DAY, share=43, by=None)
    assert b"43 %" not in Api().get("/docs/changelog").content
    assert len(titles()) == 3


# --- The feed ---------------------------------------------------------------------------------------------------------


def test_the_feed_says_what_the_page_says(settings: Settings) -> None:
    settings.BASE_URL = "https://api.example"
    make_schedule(announced_days_ago=20, deprecated_days_ago=10, reason="A & B <tag> \x0b are gone.")
    parsed = feed()
    assert [entry.title for entry in parsed.entries] == titles()
    assert parsed.feed.updated_parsed == max(entry.updated_parsed for entry in parsed.entries)
    assert [link.href for link in parsed.feed.links if link.rel == "self"] == [
        "https://api.example/docs/changelog.atom"
    ]
    page = Api().get("/docs/changelog").content.decode()
    for entry in parsed.entries:
        address, _, anchor = entry.link.partition("#")
        assert address == "https://api.example/docs/changelog"
        assert f'id="{anchor}"' in page
    announced = next(entry for entry in parsed.entries if "will end" in entry.title)
    assert "A &amp; B &lt;tag&gt;" in announced.summary
    assert 'href="https://api.example/docs/migrate/v1-v2"' in announced.summary


def test_ids_are_stable_and_each_is_used_once(settings: Settings, walk: Walk) -> None:
    row = make_schedule(announced_days_ago=20, deprecated_days_ago=-10)
    first = {entry.title: entry.id for entry in feed().entries}
    settings.BASE_URL = "https://elsewhere.example"
    walk(row.sunset_at)
    later = feed()
    ids = [entry.id for entry in later.entries]
    assert len(set(ids)) == len(ids) == len(first) + 2
    assert first.items() <= {entry.title: entry.id for entry in later.entries}.items()
    assert all(re.fullmatch(r"urn:uuid:[0-9a-f-]{36}", one) for one in ids)


def test_the_feed_keeps_to_rfc_4287() -> None:
    make_schedule(announced_days_ago=20, deprecated_days_ago=10)
    root = ElementTree.fromstring(Api().get("/docs/changelog.atom").content)  # noqa: S314 - our own document
    assert root.tag == f"{NAMESPACE}feed"
    entries = root.findall(f"{NAMESPACE}entry")
    assert len(entries) == 5
    for element in (root, *entries):
        for name in ("id", "title", "updated"):
            (found,) = element.findall(f"{NAMESPACE}{name}")
            assert found.text
            if name == "updated":
                assert dt.datetime.fromisoformat(found.text).tzinfo is not None
        links = [(link.get("rel", "alternate"), link.get("href")) for link in element.findall(f"{NAMESPACE}link")]
        assert len([rel for rel, _ in links if rel == "alternate"]) == 1
    assert root.find(f"{NAMESPACE}author/{NAMESPACE}name") is not None
    for entry in entries:
        (summary,) = entry.findall(f"{NAMESPACE}summary")
        assert summary.get("type") == "html"
