"""What is printed says plainly whether a target is met."""

from bench.results import Result, Target


def result(*, met: bool) -> Result:
    return Result(
        "cached", "What was done.", [["round", "µs"], ["1", "500"]], [Target("x ≤ 1", "0.5", met)], ["a note"]
    )


def test_a_section_is_a_markdown_table_with_notes_and_verdicts() -> None:
    assert result(met=True).markdown().splitlines() == [
        "### cached",
        "",
        "What was done.",
        "",
        "| round | µs  |",
        "| ----- | --- |",
        "| 1     | 500 |",
        "",
        "- a note",
        "- **met**: x ≤ 1 — measured 0.5",
    ]


def test_a_target_that_is_not_met_is_said_and_counted() -> None:
    assert result(met=True).met
    missed = result(met=False)
    assert not missed.met
    assert "**NOT MET**: x ≤ 1" in missed.markdown()
