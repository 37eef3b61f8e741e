"""Drafts to TOML, sorted, with what they are in comments. Pure."""

import json
from collections.abc import Iterator, Sequence

from mcastd.tools.feedlist.draft import FeedDraft, GroupDraft
from mcastd.tools.feedlist.entry import Entry

_HEAD = """\
# The multicast of {file}: {groups}, {feeds}. Made by `mcastd import --feeds`.
# It can be included, include = ["{name}"], or appended to mcastd.toml.
"""


def toml(
    feeds: Sequence[FeedDraft], groups: Sequence[GroupDraft], file: str, name: str, tunnel: str | None = None
) -> str:
    """The text; ``name`` is that of the file that it will be in, ``file`` that of the list."""
    counted = _HEAD.format(
        file=_comment(file), name=_comment(name), groups=_count(groups, "group"), feeds=_count(feeds, "feed")
    )
    return counted + "".join(f"{line}\n" for line in (*_groups(groups, tunnel), *_feeds(feeds)))


def _count(found: Sequence[object], word: str) -> str:
    return f"{len(found)} {word}{'' if len(found) == 1 else 's'}"


def _groups(groups: Sequence[GroupDraft], tunnel: str | None) -> Iterator[str]:
    for one in groups:
        yield ""
        yield f"[[groups]]  # {_comment(', '.join(one.names))}"
        yield f'group = "{one.group}"'
        if tunnel is not None:
            yield f"tunnel = {_string(tunnel)}"
        if one.sources:
            yield f"sources = [{', '.join(_string(str(source)) for source in one.sources)}]"


def _feeds(feeds: Sequence[FeedDraft]) -> Iterator[str]:
    about = ""
    for feed in feeds:
        first = feed.places[0]
        yield ""
        if first.about != about:
            about = first.about
            yield f"# {_comment(about)}" if about else "#"
        yield "[[feeds]]"
        yield f"name = {_string(feed.name)}"
        if len(feed.places) == 1:
            yield f'groups = ["{first.group}"]'
            if first.port is not None:
                yield f"port = {first.port}"
        if feed.sequence is not None:
            yield f"sequence = {_string(feed.sequence)}"
        if len(feed.places) > 1:
            yield f"pair = [{', '.join(_string(_place(place)) for place in feed.places)}]"


def _place(entry: Entry) -> str:
    return f"{entry.group}" if entry.port is None else f"{entry.group}:{entry.port}"


def _string(text: str) -> str:
    """A basic string; JSON escapes as TOML does, except for DEL."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _comment(text: str) -> str:
    """A text on one line, without the characters that a TOML comment must not have."""
    return "".join(character if character.isprintable() else " " for character in text)
