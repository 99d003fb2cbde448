"""The words that ``make check`` refuses."""

from tests.support.words import found_in


def test_a_subject_that_names_nothing_is_found_with_its_line() -> None:
    text = "A batch is sent.\nNobody waits for it, so\nwho\n  waits is not asked.\n"
    assert list(found_in(text)) == [(2, "nobody"), (3, "who waits")]


def test_a_name_that_went_is_found_and_longer_names_are_not() -> None:
    assert [word for _, word in found_in("from inference.calls import endings")] == ["endings"]
    assert list(found_in("the body _NoBody, Audience.EVERYONE, note_endings_of, any one of them")) == []
