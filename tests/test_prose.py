"""The project's English is plain: no text uses the constructions that hide its subject.

The tests read docstrings, comments and string literals of both packages, the documents, and
the names of the tests, which are sentences: subject, verb, claim.
"""

import ast
import io
import re
import tokenize
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parent.parent
PACKAGES: Final = (ROOT / "engine/turnlatch", ROOT / "states/turnlatch_states")

TICS: Final[Mapping[str, str]] = {
    r"\b(?:is|are|was|were) none\b": "say what it is: 'not a client', 'missing'",
    r"(?<![Tt]here )\b(?:is|are|was|were) no (?!longer\b|more\b)\w+": (
        "say 'is not a ...': int is not a client"
    ),
    r"\b[Ww]hoever\b": "name the process, caller or reader",
    r"\b[Nn]obody\b": "name who does not",
    r"\banew\b": "say 'again'",
    r"\b[Bb]eside\b": "say 'in addition to' or 'next to'",
    r"\b(?:himself|herself|oneself)\b": "name the process, caller or reader",
    r"\bof (?:its|their|his|her) own\b": "say 'separate' or 'another'",
    r"\b(?:anything|something|do|does|go|goes|be) otherwise\b": "say 'differently'",
    r"\bwhat (?:is|was|were|has been) said\b": "name it: the message, the reply",
    r"\bwhat (?:it|they|he|a \w+) (?:came|comes|come) to\b": "say 'the outcome'",
    r"\bdemand(?:s|ed)? that\b": "say 'require'",
    r"(?:^|(?<=[.:;!?|] ))What (?!to |happened\b)[^.?!:]*\.(?= |$)": "begin with the thing itself",
}
"""Banned constructions: the pattern, and what to write instead."""

NAME_TICS: Final[Mapping[str, str]] = {
    **TICS,
    r"^(?:what|who|whoever|whose|where|which|it|its|he|they|there|nor) ": (
        "begin with the subject: 'test_refused_input_is_rolled_back'"
    ),
    r"\b(?:is|are|was|were) no(?! longer\b| more\b)\b": "say 'is not a ...'",
    r"\b(?:told|said|heard)\b": "say how: 'is reported', 'is sent', 'is logged', 'is printed'",
    r"\b(?:for|as) ever\b": "say 'permanently', 'still', or the number",
}
"""Constructions that no name of a test uses, once its underscores are spaces."""

ALLOWED: Final[Mapping[str, str]] = {
    "nobody answered in time": "a reason that stores hold, and that the chat looks for",
}
"""Exact phrases that a pattern matches and that are right, each with the reason."""


def texts(path: Path) -> Iterator[tuple[int, str]]:
    """The texts of a file, each with the line where it begins: a document's paragraphs; a
    module's docstrings, comments and string literals."""
    source = path.read_text(encoding="utf-8")
    if path.suffix != ".py":
        yield from paragraphs(source)
        return
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value
    yield from comments(source)


def paragraphs(source: str) -> Iterator[tuple[int, str]]:
    """The paragraphs of a document."""
    line = 1
    for paragraph in source.split("\n\n"):
        yield line, paragraph
        line += paragraph.count("\n") + 2


def comments(source: str) -> Iterator[tuple[int, str]]:
    """The comments of a module; lines that follow each other are one text."""
    first, last, words = 0, 0, [""]
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type != tokenize.COMMENT:
            continue
        row, text = token.start[0], token.string.lstrip("#: ")
        if row == last + 1:
            words.append(text)
        else:
            yield first, " ".join(words)
            first, words = row, [text]
        last = row
    yield first, " ".join(words)


def tics(text: str, banned: Mapping[str, str] = TICS) -> Iterator[tuple[str, str]]:
    """The banned constructions of a text: the words, and the advice."""
    text = " ".join(text.split())
    for phrase in ALLOWED:
        text = text.replace(phrase, "")
    for pattern, advice in banned.items():
        for found in re.finditer(pattern, text):
            yield found.group(), advice


def files() -> list[Path]:
    """All modules and documents."""
    modules = [path for package in PACKAGES for path in sorted(package.rglob("*.py"))]
    documents = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("findings/*")]
    return [*modules, *sorted(documents)]


def label(path: Path) -> str:
    """The path from the root of the project on."""
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", files(), ids=label)
def test_no_text_hides_its_subject(path: Path) -> None:
    found = [
        f"{label(path)}:{line}: {words!r}: {advice}"
        for line, text in texts(path)
        for words, advice in tics(text)
    ]

    assert not found, "\n".join(found)


def test_every_phrase_that_is_allowed_is_used() -> None:
    written = [" ".join(text.split()) for path in files() for _, text in texts(path)]

    for phrase, reason in ALLOWED.items():
        assert reason
        assert any(phrase in text for text in written), phrase


def names(source: str) -> Iterator[tuple[int, str]]:
    """The names of the tests of a module, as sentences, each with its line."""
    for found in re.finditer(r"^ *(?:async )?def test_(\w+)", source, re.MULTILINE):
        yield source.count("\n", 0, found.start()) + 1, found[1].replace("_", " ")


def test_no_test_name_hides_its_subject() -> None:
    found = [
        f"{label(path)}:{line}: {name!r}: {words!r}: {advice}"
        for path in sorted((ROOT / "tests").rglob("test_*.py"))
        for line, name in names(path.read_text(encoding="utf-8"))
        for words, advice in tics(name, NAME_TICS)
    ]

    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    "name",
    [
        "test_what_is_refused_is_rolled_back",
        "test_it_is_rolled_back",
        "test_file_that_is_no_store_is_refused",
        "test_store_is_made_anew",
        "test_stream_that_nobody_reads_ends",
        "test_call_that_died_is_told_as_unknown",
        "test_input_refused_for_ever_is_rolled_back",
    ],
)
def test_riddling_test_name_is_found(name: str) -> None:
    (claim,) = (claim for _, claim in names(f"async def {name}() -> None: ..."))

    assert list(tics(claim, NAME_TICS))


PLANTED: Final = (
    '"""What is left out."""',
    '"""A call.\n\n    Attributes:\n        why: What it waits for.\n    """',
    "x = 1  # whoever comes\n",
    'raise ValueError("int is no client")',
    'raise ValueError(f"{1!r} is "\n    "none")',
    "# It is read\n# anew.\n",
    '"""It runs beside the\n    others."""',
    '"""In a thread of its own."""',
    '"""The next request does something otherwise."""',
)


@pytest.mark.parametrize("source", PLANTED)
def test_each_construction_is_found_where_it_is_planted(
    source: str, tmp_path: Path
) -> None:
    planted = tmp_path / "planted.py"
    planted.write_text(source, encoding="utf-8")

    assert [words for _, text in texts(planted) for words, _ in tics(text)]


PLAIN: Final = (
    "There is no such file. The lease is no longer held. What is a turn?",
    "Otherwise the turn fails. The value is None.",
    "A stream shows what was sent.",
)


@pytest.mark.parametrize("text", PLAIN)
def test_plain_english_is_left_alone(text: str) -> None:
    assert list(tics(text)) == []
