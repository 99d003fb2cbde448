"""What a tenant's ``tokenizer.json`` may hold: components from a list, none of which runs a pattern that its maker wrote.

A tokenizer is a program. A free regular expression in it panics, or runs for minutes, on a text of forty characters, and a
chain of replacements makes gigabytes of ten. So the components are declared here, field by field, and everything else is
refused when the package is checked; the platform's staff may push a tokenizer of any make, for they answer for it.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta, Struct

from inference.registry.packages.problems import PackageError, placed

FILE: Final = "tokenizer.json"
_MAX_COMPONENTS: Final = 8
_MAX_DEPTH: Final = 4

_Character = Annotated[str, Meta(min_length=1, max_length=1)]
_Few = Annotated[str, Meta(max_length=8)]
_Token = Annotated[str, Meta(min_length=1, max_length=200)]
_Id = Annotated[int, Meta(ge=0, lt=2**31)]
_Behaviour = Literal["Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"]


class _Component(Struct, frozen=True, tag_field="type", forbid_unknown_fields=True):
    """One step of a tokenizer."""


class _Literal(Struct, frozen=True, forbid_unknown_fields=True):
    """A pattern that is looked for as it is; a regular expression would stand under ``Regex``."""

    String: _Token


# --- Normalizers: from text to text -----------------------------------------------------------------------------------


class _BertNormalizer(_Component, frozen=True, tag="BertNormalizer"):
    clean_text: bool = True
    handle_chinese_chars: bool = True
    strip_accents: bool | None = None
    lowercase: bool = True


class _Lowercase(_Component, frozen=True, tag="Lowercase"): ...


class _Nfc(_Component, frozen=True, tag="NFC"): ...


class _Nfd(_Component, frozen=True, tag="NFD"): ...


class _Nfkc(_Component, frozen=True, tag="NFKC"): ...


class _Nfkd(_Component, frozen=True, tag="NFKD"): ...


class _Nmt(_Component, frozen=True, tag="Nmt"): ...


class _StripAccents(_Component, frozen=True, tag="StripAccents"): ...


class _Strip(_Component, frozen=True, tag="Strip"):
    strip_left: bool = True
    strip_right: bool = True


class _Prepend(_Component, frozen=True, tag="Prepend"):
    prepend: _Few


class _Replace(_Component, frozen=True, tag="Replace"):
    """What is put in is no longer than what it replaces, so that no chain of them makes a text longer."""

    pattern: _Literal
    content: _Few


class _Normalizers(_Component, frozen=True, tag="Sequence"):
    normalizers: list["_Normalizer"]


_Normalizer = (
    _BertNormalizer
    | _Lowercase
    | _Nfc
    | _Nfd
    | _Nfkc
    | _Nfkd
    | _Nmt
    | _StripAccents
    | _Strip
    | _Prepend
    | _Replace
    | _Normalizers
)


# --- Pre-tokenizers: from text to words -------------------------------------------------------------------------------


class _BertPreTokenizer(_Component, frozen=True, tag="BertPreTokenizer"): ...


class _Whitespace(_Component, frozen=True, tag="Whitespace"): ...


class _WhitespaceSplit(_Component, frozen=True, tag="WhitespaceSplit"): ...


class _UnicodeScripts(_Component, frozen=True, tag="UnicodeScripts"): ...


class _Punctuation(_Component, frozen=True, tag="Punctuation"):
    behavior: _Behaviour = "Isolated"


class _Digits(_Component, frozen=True, tag="Digits"):
    individual_digits: bool = False


class _CharDelimiterSplit(_Component, frozen=True, tag="CharDelimiterSplit"):
    delimiter: _Character


class _Metaspace(_Component, frozen=True, tag="Metaspace"):
    replacement: _Character = "▁"
    prepend_scheme: Literal["first", "never", "always"] = "always"
    split: bool = True
    add_prefix_space: bool | None = None
    str_rep: _Few | None = None


class _ByteLevel(_Component, frozen=True, tag="ByteLevel"):
    """Also a post-processor. Its pattern is the library's own."""

    add_prefix_space: bool = True
    trim_offsets: bool = True
    use_regex: bool = True


class _Split(_Component, frozen=True, tag="Split"):
    pattern: _Literal
    behavior: _Behaviour
    invert: bool = False


class _PreTokenizers(_Component, frozen=True, tag="Sequence"):
    pretokenizers: list["_PreTokenizer"]


_PreTokenizer = (
    _BertPreTokenizer
    | _Whitespace
    | _WhitespaceSplit
    | _UnicodeScripts
    | _Punctuation
    | _Digits
    | _CharDelimiterSplit
    | _Metaspace
    | _ByteLevel
    | _Split
    | _PreTokenizers
)


# --- Post-processors: the tokens around a text ------------------------------------------------------------------------


class _BertProcessing(_Component, frozen=True, tag="BertProcessing"):
    sep: tuple[_Token, _Id]
    cls: tuple[_Token, _Id]


class _RobertaProcessing(_Component, frozen=True, tag="RobertaProcessing"):
    sep: tuple[_Token, _Id]
    cls: tuple[_Token, _Id]
    trim_offsets: bool = True
    add_prefix_space: bool = True


class _Special(Struct, frozen=True, forbid_unknown_fields=True):
    id: _Token
    type_id: Annotated[int, Meta(ge=0, le=15)] = 0


class _Text(Struct, frozen=True, forbid_unknown_fields=True):
    id: Literal["A", "B"]
    type_id: Annotated[int, Meta(ge=0, le=15)] = 0


class _Piece(Struct, frozen=True, forbid_unknown_fields=True, rename={"special": "SpecialToken", "text": "Sequence"}):
    special: _Special | None = None
    text: _Text | None = None


class _SpecialIds(Struct, frozen=True, forbid_unknown_fields=True):
    id: _Token
    ids: Annotated[list[_Id], Meta(max_length=4)]
    tokens: Annotated[list[_Token], Meta(max_length=4)]


class _TemplateProcessing(_Component, frozen=True, tag="TemplateProcessing"):
    single: Annotated[list[_Piece], Meta(max_length=8)]
    pair: Annotated[list[_Piece], Meta(max_length=8)]
    special_tokens: dict[str, _SpecialIds] | None = None


class _PostProcessors(_Component, frozen=True, tag="Sequence"):
    processors: list["_PostProcessor"]


_PostProcessor = _BertProcessing | _RobertaProcessing | _TemplateProcessing | _ByteLevel | _PostProcessors


# --- The model, and the whole -----------------------------------------------------------------------------------------


class _WordPiece(_Component, frozen=True, tag="WordPiece"):
    vocab: dict[str, _Id]
    unk_token: _Token = "[UNK]"  # noqa: S105 - a token of text
    continuing_subword_prefix: _Few = "##"
    max_input_chars_per_word: Annotated[int, Meta(ge=1, le=1000)] = 100


class _WordLevel(_Component, frozen=True, tag="WordLevel"):
    vocab: dict[str, _Id]
    unk_token: _Token = "[UNK]"  # noqa: S105 - a token of text


class _Bpe(_Component, frozen=True, tag="BPE"):
    """Without ``dropout``, which would give one text other tokens each time."""

    vocab: dict[str, _Id]
    merges: list[str | tuple[str, str]]
    dropout: None = None
    unk_token: _Token | None = None
    continuing_subword_prefix: _Few | None = None
    end_of_word_suffix: _Few | None = None
    fuse_unk: bool = False
    byte_fallback: bool = False
    ignore_merges: bool = False


class _Unigram(_Component, frozen=True, tag="Unigram"):
    vocab: list[tuple[str, float]]
    unk_id: _Id | None = None
    byte_fallback: bool = False


_Model = _WordPiece | _WordLevel | _Bpe | _Unigram


class _AddedToken(Struct, frozen=True, forbid_unknown_fields=True):
    id: _Id
    content: _Token
    single_word: bool = False
    lstrip: bool = False
    rstrip: bool = False
    normalized: bool = True
    special: bool = False


class _Decoder(Struct, frozen=True):
    """What is read of one: its kind. A decoder is never run, but its patterns would be compiled."""

    type: Literal["WordPiece", "ByteLevel", "BPEDecoder", "Metaspace", "CTC", "ByteFallback", "Fuse", "Strip"]


class _Tokenizer(Struct, frozen=True, forbid_unknown_fields=True):
    """``truncation`` and ``padding`` are set anew when the model is loaded, and no model here decodes."""

    model: _Model
    version: str | None = None
    truncation: dict[str, Any] | None = None
    padding: dict[str, Any] | None = None
    added_tokens: Annotated[list[_AddedToken], Meta(max_length=2000)] = []
    normalizer: _Normalizer | None = None
    pre_tokenizer: _PreTokenizer | None = None
    post_processor: _PostProcessor | None = None
    decoder: _Decoder | None = None


_SEQUENCES: Final[Mapping[str, str]] = {
    "normalizer": "normalizers",
    "pre_tokenizer": "pretokenizers",
    "post_processor": "processors",
}
_UNIONS: Final[Mapping[str, Any]] = {
    "normalizer": _Normalizer,
    "pre_tokenizer": _PreTokenizer,
    "post_processor": _PostProcessor,
    "model": _Model,
}


def check(name: str, content: Any) -> None:
    """Look at the parsed ``content`` of the file ``name``. Raises PackageError that names the component, for everything that
    is not declared above."""
    if not isinstance(content, dict):
        raise PackageError(placed(name), "A tokenizer is a JSON object.")
    for role in _SEQUENCES:
        _require_short(name, role, content.get(role), depth=_MAX_DEPTH)
    try:
        found = msgspec.convert(content, _Tokenizer)
    except msgspec.ValidationError as error:
        raise _refusal(name, str(error)) from error
    for place, replaced in _replacements(found.normalizer, "normalizer"):
        if len(replaced.content) > len(replaced.pattern.String):
            raise PackageError(
                f"{placed(name)}: {place}", "What a Replace puts in may not be longer than what it replaces."
            )


def _require_short(name: str, place: str, component: Any, *, depth: int) -> int:
    """How many components stand there, sequences opened. Raises PackageError for too many, or too deep a nesting."""
    if not isinstance(component, dict) or component.get("type") != "Sequence":
        return 1
    parts = component.get(_SEQUENCES[place.partition(".")[0]])
    count = 0
    for part in parts if isinstance(parts, list) else ():
        count += _require_short(name, place, part, depth=depth - 1) if depth else _MAX_COMPONENTS + 1
        if count > _MAX_COMPONENTS:
            raise PackageError(
                f"{placed(name)}: {place}",
                f"It has more than {_MAX_COMPONENTS} components, or sequences more than {_MAX_DEPTH} deep.",
            )
    return count


def _replacements(component: Any, place: str) -> list[tuple[str, _Replace]]:
    if isinstance(component, _Replace):
        return [(place, component)]
    if isinstance(component, _Normalizers):
        return [found for part in component.normalizers for found in _replacements(part, place)]
    return []


def _refusal(name: str, reason: str) -> PackageError:
    what, _, path = reason.partition(" - at `$.")
    path = path.rstrip("`")
    role = path.partition(".")[0].partition("[")[0]
    allowed = ", ".join(sorted(kind.__struct_config__.tag for kind in getattr(_UNIONS.get(role), "__args__", ())))
    hint = f" Allowed there: {allowed}." if allowed else ""
    return PackageError(
        f"{placed(name)}: {path}" if path else placed(name),
        f"{what}.{hint} Patterns are plain strings, not regular expressions; staff can push any tokenizer.",
    )
