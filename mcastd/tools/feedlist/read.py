"""A list in any of the known formats, which are distinguished by their first character. Pure."""

from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE

from mcastd.tools.feedlist import columns, connectivity, markup
from mcastd.tools.feedlist.entry import LARGEST, Entry, Source

_WIDE = (BOM_UTF16_LE, BOM_UTF16_BE)


def entries(content: bytes, source: Source) -> list[Entry]:
    """What a file has. Raises ConfigError if it is in no known format, or has nonsense in it."""
    if len(content) > LARGEST:
        raise source.refused(1, f"it is too large; allowed: at most {LARGEST} bytes")
    text, line = _text(content), 1
    if text.lstrip().startswith("<") or source.path.suffix.lower() == ".xml":
        root = markup.parse(content, source)
        found, line = list(connectivity.entries(root, source)), root.line
        allowed = "elements connection with ip and port, as CME and MOEX have them"
    else:
        found, allowed = list(columns.entries(text, source)), "a list of feeds with their groups"
    if not found:
        raise source.refused(line, f"it has no multicast address that can be joined; allowed: {allowed}")
    return found


def _text(content: bytes) -> str:
    """The text of a table; of XML only its beginning matters."""
    if content.startswith(_WIDE):
        return content.decode("utf-16", errors="replace")
    return content.removeprefix(BOM_UTF8).decode(errors="replace")
