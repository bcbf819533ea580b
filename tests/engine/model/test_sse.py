"""The splitter: the same events however the bytes are cut, in linear work."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnlatch.sdk.sealing import IncompleteReplyError
from turnlatch.sdk.sse import ReplyLimits, Splitter

MIB = 1024 * 1024


def split(chunks: list[bytes], limits: ReplyLimits | None = None) -> list[str]:
    splitter = Splitter(limits or ReplyLimits())
    events = [event for chunk in chunks for event in splitter.feed(chunk)]
    return [event.strip("\n") for event in events if event.strip("\n")]


def cut(text: bytes, places: set[int]) -> list[bytes]:
    edges = [0, *sorted(places), len(text)]
    return [text[a:b] for a, b in itertools.pairwise(edges)]


lines = st.text(
    st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), min_size=1
).filter(lambda line: not line.startswith("\ufeff"))
events = st.lists(st.lists(lines, min_size=1, max_size=3), min_size=1, max_size=5)


@given(events, st.sampled_from(["\n", "\r\n", "\r"]), st.booleans(), st.data())
def test_events_are_the_same_wherever_the_bytes_are_cut(
    said: list[list[str]], ending: str, marked: bool, data: st.DataObject
) -> None:
    text = "".join("".join(line + ending for line in one) + ending for one in said)
    stream = (b"\xef\xbb\xbf" if marked else b"") + text.encode()
    places = data.draw(st.sets(st.integers(0, len(stream)), max_size=12))

    found = split(cut(stream, places))

    assert found == ["\n".join(one) for one in said]
    assert split([bytes([byte]) for byte in stream]) == found


def test_line_endings_may_be_mixed() -> None:
    stream = b"a\r\nb\r\r\n\nc\n\r\nd\r\n\r\n"

    assert split([stream]) == split([bytes([b]) for b in stream]) == ["a\nb", "c", "d"]


def test_event_without_its_empty_line_does_not_exist() -> None:
    assert split([b"a\n\nb\n"]) == ["a"]


@pytest.mark.parametrize("chunk", [1, 7, 4096])
def test_work_grows_with_the_bytes_and_not_with_their_square(chunk: int) -> None:
    """Counted, not timed: the bytes copied for one event that comes in pieces."""

    def work(size: int) -> int:
        splitter = Splitter(ReplyLimits())
        stream = b"data: " + b"x" * size + b"\n\n"
        for at in range(0, len(stream), chunk):
            list(splitter.feed(stream[at : at + chunk]))
        return splitter.work

    assert work(20_000) <= 2.2 * work(10_000)
    assert work(20_000) <= 4 * 20_000 + 4096


def test_work_is_linear_in_many_small_events() -> None:
    splitter = Splitter(ReplyLimits())
    stream = b"data: x\n\n" * 10_000

    for at in range(0, len(stream), 4096):
        list(splitter.feed(stream[at : at + 4096]))

    assert splitter.work <= 4 * len(stream)


@pytest.mark.parametrize(
    ("limits", "stream", "message"),
    [
        (ReplyLimits(event_bytes=100), [b"x" * 60, b"x" * 60], "an event is larger"),
        (ReplyLimits(event_bytes=100), [b"x" * 120 + b"\n\n"], "an event is larger"),
        (ReplyLimits(events=3), [b"a\n\n" * 4], "more than 3 events"),
        (ReplyLimits(reply_bytes=100), [b": ping\n\n" * 20], "larger than 100 bytes"),
    ],
)
def test_limits_are_kept(
    limits: ReplyLimits, stream: list[bytes], message: str
) -> None:
    with pytest.raises(IncompleteReplyError, match=message):
        split(stream, limits)


def test_events_before_a_damaged_one_are_still_events() -> None:
    splitter = Splitter(ReplyLimits())
    found: list[str] = []

    with pytest.raises(IncompleteReplyError, match="not UTF-8"):
        found.extend(splitter.feed(b"a\n\n\xff\n\n"))

    assert found == ["a"]
