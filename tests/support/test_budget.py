"""The comparison of recorded durations with ``tests/budget.toml``."""

from tests.support.budget import overdrawn

BUDGET = {"tests/billing": 10.0, "tests/parity": 90.0}


def test_a_run_within_three_times_its_budget_is_good() -> None:
    assert overdrawn(BUDGET, {"tests/billing": 28.0, "tests/parity": 70.0}) == []


def test_a_folder_that_takes_much_longer_is_named_with_both_numbers() -> None:
    assert overdrawn(BUDGET, {"tests/billing": 31.0, "tests/parity": 60.0}) == [
        "tests/billing took 31 s of test time, more than 3 times its budget of 10 s"
    ]


def test_a_machine_that_is_slow_all_over_names_no_folder() -> None:
    assert overdrawn(BUDGET, {"tests/billing": 50.0, "tests/parity": 450.0}) == []
    assert overdrawn(BUDGET, {"tests/billing": 200.0, "tests/parity": 300.0}) != []


def test_a_new_folder_needs_a_budget() -> None:
    (line,) = overdrawn(BUDGET, {"tests/billing": 1.0, "tests/parity": 1.0, "tests/portal": 3.0})
    assert line == "tests/portal has no budget in tests/budget.toml; it took 3 s"


def test_a_folder_that_was_left_out_is_missed() -> None:
    (line,) = overdrawn(BUDGET, {"tests/billing": 1.0})
    assert line == "tests/parity has a budget, but none of its tests ran"


def test_a_few_seconds_are_not_worth_a_word() -> None:
    assert overdrawn({"tests/billing": 1.0}, {"tests/billing": 4.9}) == []
