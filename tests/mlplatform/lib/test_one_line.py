"""Names that customers choose, before they stand in a letter of the platform."""

import pytest

from mlplatform.lib.one_line import one_line


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ("Acme", "Acme"),
        ("  Acme \t Ltd ", "Acme Ltd"),
        ("Acme\r\nBcc: all@evil.example", "Acme Bcc: all@evil.example"),
        ("Acme\u2028Pay\u2029here\x85now\x0b", "Acme Pay here now"),
        ("gpj\u202eexe.\u2066\u2069", "gpjexe."),
        ("a\x00b\x1b[31m", "ab[31m"),
        ("\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645", "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645"),
        ("\U0001f469\u200d\U0001f680", "\U0001f469\u200d\U0001f680"),
        ("", ""),
    ],
)
def test_it_is_one_line_that_turns_nothing_around(given: str, line: str) -> None:
    assert one_line(given) == line
