"""A look at a document's text before it is parsed: so many tokens, so deeply nested, and no more is read.

A parser that is written by recursion must not meet what is nested too deeply, and memory must not be spent on tokens
that will be refused. The scan finds at least the tokens that the parser will find, and reads each character once.
"""

import re
from typing import Final

from mlplatform.graphql.refusals import DOCUMENT_TOO_LARGE, TOO_DEEP, TOO_MANY_TOKENS, Refusal, too_much

MAX_CHARACTERS: Final = 100_000
MAX_NESTING: Final = 60
"""Of all brackets. Fields have a limit of their own; arguments, lists and inline fragments nest as well."""

TOKEN: Final = re.compile(
    r'"""(?:[^"\\]|\\"""|\\(?!""")|"(?!""))*(?:"""|\Z)'  # a block string
    r'|"(?:[^"\\\n\r]|\\.)*"?'
    r"|\#[^\n\r]*"  # a comment, which the parser keeps as a token
    r"|[A-Za-z_][A-Za-z0-9_]*"  # a name
    r"|-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?"
    r"|\.\.\."
    r"|[^\s,\ufeff]"
)


def scan(text: str, *, max_tokens: int) -> int:
    """How many tokens the text has. Raises :class:`Refusal` for one that is too long, too rich or too deep."""
    if len(text) > MAX_CHARACTERS:
        raise too_much(
            DOCUMENT_TOO_LARGE,
            f"The document has more than {MAX_CHARACTERS:,} characters; pass values as variables.",
            parsed=False,
            limit=MAX_CHARACTERS,
        )
    tokens = nesting = 0
    for match in TOKEN.finditer(text):
        tokens += 1
        if tokens > max_tokens:
            raise _too_many(max_tokens)
        first = text[match.start()]
        if first in "{[(":
            nesting += 1
            if nesting > MAX_NESTING:
                raise _too_deep()
        elif first in "}])":
            nesting -= 1
    return tokens


def _too_many(limit: int) -> Refusal:
    return too_much(
        TOO_MANY_TOKENS,
        f"The request has more than {limit:,} tokens; ask for less, or pass values as variables.",
        parsed=False,
        limit=limit,
    )


def _too_deep() -> Refusal:
    return too_much(TOO_DEEP, f"The document nests more than {MAX_NESTING} brackets.", parsed=False, limit=MAX_NESTING)
