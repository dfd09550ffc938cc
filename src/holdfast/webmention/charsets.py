"""From the bytes of a page to its text, whatever it says of itself. Pure."""

from __future__ import annotations

import re

__all__ = ["charset_of", "decode"]

_BOMS = ((b"\xef\xbb\xbf", "utf-8"), (b"\xfe\xff", "utf-16-be"), (b"\xff\xfe", "utf-16-le"))
_META = re.compile(rb"""<meta[^>]*?charset\s*=\s*["']?\s*([a-zA-Z0-9_:.-]{1,40})""", re.IGNORECASE)
_PARAMETER = re.compile(r""";\s*charset\s*=\s*["']?\s*([a-zA-Z0-9_:.-]{1,40})""", re.IGNORECASE)

# Labels that pages use, and nothing else: among the codecs that Python knows by
# name are some that are no charsets, that cost quadratic time, or that hide
# markup from whoever filters it.
_NAMES: dict[str, str] = {
    label: name
    for name, labels in {
        "utf-8": "utf-8 utf8 unicode-1-1-utf-8",
        "utf-16-le": "utf-16 utf-16le unicode",
        "utf-16-be": "utf-16be",
        "cp1252": "windows-1252 cp1252 iso-8859-1 iso8859-1 latin1 latin-1 l1 ascii us-ascii",
        "cp1250": "windows-1250 cp1250",
        "cp1251": "windows-1251 cp1251",
        "cp1253": "windows-1253 cp1253",
        "cp1254": "windows-1254 cp1254 iso-8859-9 latin5",
        "cp1255": "windows-1255 cp1255",
        "cp1256": "windows-1256 cp1256",
        "cp1257": "windows-1257 cp1257",
        "cp1258": "windows-1258 cp1258",
        "iso8859-2": "iso-8859-2 latin2",
        "iso8859-5": "iso-8859-5 cyrillic",
        "iso8859-7": "iso-8859-7 greek",
        "iso8859-8": "iso-8859-8 hebrew",
        "iso8859-15": "iso-8859-15 latin-9",
        "koi8-r": "koi8-r koi8",
        "koi8-u": "koi8-u",
        "gb18030": "gb18030 gbk gb2312 x-gbk",
        "big5": "big5 big5-hkscs",
        "shift_jis": "shift_jis shift-jis sjis x-sjis windows-31j",
        "euc_jp": "euc-jp x-euc-jp",
        "euc_kr": "euc-kr ks_c_5601-1987 windows-949",
    }.items()
    for label in labels.split()
}


def charset_of(content_type: str) -> str | None:
    """What a `Content-Type` says, if it does."""
    found = _PARAMETER.search(content_type[:1000])
    return found[1] if found else None


def decode(body: bytes, charset: str | None = None) -> str:
    """The text; bytes that are none in this charset are U+FFFD.

    A byte order mark decides, then `charset` (as the answer's header has it),
    then a `<meta>` among the first 1,024 bytes, as the HTML standard says. What
    nobody says is UTF-8 if it can be, and else windows-1252.
    """
    for mark, name in _BOMS:
        if body.startswith(mark):
            return body[len(mark) :].decode(name, "replace")
    known = _NAMES.get((charset or "").strip().lower())
    if known is None and (meta := _META.search(body[:1024])):
        known = _NAMES.get(meta[1].decode("ascii").lower())
        if known is not None and known.startswith("utf-16"):
            known = "utf-8"  # or the tag could not have been read
    if known is not None:
        return body.decode(known, "replace")
    try:
        return body.decode()
    except UnicodeDecodeError as error:
        # The last character may have been cut in two by a limit; that makes it no other charset.
        cut = error.start > len(body) - 4 and error.reason == "unexpected end of data"
        return body.decode("utf-8" if cut else "cp1252", "replace")
