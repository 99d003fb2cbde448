"""Metrics that are gathered in memory are what they would be one by one."""

from prometheus_client import REGISTRY, Counter
from prometheus_client import Histogram as OneByOne

from mlplatform.lib import tally

VALUES = [0.001, 0.1, 0.1, 0.05, 0.2, 0.5, 7.0, 1.0, 100.0]
BUCKETS = (0.05, 0.1, 0.5, 1.0)


def test_many_values_at_once_count_as_they_would_one_by_one() -> None:
    each = OneByOne("tally_each_seconds", "One by one.", ["what"], buckets=BUCKETS)
    gathered = tally.Histogram("tally_gathered_seconds", "At once.", ["what"], buckets=BUCKETS)
    for value in VALUES:
        each.labels("a").observe(value)
        tally.observe(gathered.labels("a"), value)
    tally.observe(each.labels("b"), 0.3)
    tally.flush()
    assert samples(gathered, "a") == samples(each, "a")
    assert samples(each, "b")["_count"] == 1


def samples(histogram: OneByOne, what: str) -> dict[str, float]:
    (family,) = histogram.collect()
    return {
        sample.name.removeprefix(family.name) + sample.labels.get("le", ""): sample.value
        for sample in family.samples
        if sample.labels["what"] == what and not sample.name.endswith("_created")
    }


def test_counts_are_handed_over_once() -> None:
    counter = Counter("tally_counted_total", "Of this test.")
    for _ in range(3):
        tally.count(counter)
    tally.flush()
    tally.flush()
    assert REGISTRY.get_sample_value("tally_counted_total") == 3
