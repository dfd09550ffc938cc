"""What the properties of an item say: text, URLs, times; implied name, photo and URL, the value-class pattern.

The rules are those of https://microformats.org/wiki/microformats2-parsing.
Each is read when it is asked for, within a bound of its own: nested properties
would otherwise read the same text once for each level.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from holdfast.webmention.excerpts import text_of
from holdfast.webmention.markup import Element
from holdfast.webmention.microformats import Item, Value, words

__all__ = ["MAX_VALUES", "name_of", "plain", "says", "time_of", "urls_of"]

MAX_VALUES: Final = 20
"""Of one property that is read."""

_SOURCES: Final = {
    "img": "src",
    "audio": "src",
    "video": "src",
    "source": "src",
    "iframe": "src",
    "object": "data",
}
_TIMES: Final = re.compile(
    r"(?P<date>\d{4}-\d{2}-\d{2})?[T ]?(?P<time>\d{1,2}:\d{2}(?::\d{2})?(?:\.\d+)?)?"
    r" ?(?P<zone>Z|[+-]\d{2}:?\d{2})?"
)


def says(item: Item, name: str, *, max_chars: int = 2_000, inside: bool = True) -> str:
    """The first that the property says as plain text; empty where it says nothing."""
    for value in item.properties.get(name, ())[:MAX_VALUES]:
        if said := plain(value, max_chars=max_chars, inside=inside):
            return said
    return ""


def name_of(item: Item, *, max_chars: int = 300) -> str:
    """Its name, or the one that is implied; empty where there is none."""
    if "name" in item.properties or item.classic:
        return says(item, "name", max_chars=max_chars, inside=False)
    if item.nested or item.prefixes & {"p", "e"}:
        return ""
    for element in _only_children(item.element):
        said = element.attributes.get("alt") if element.tag in ("img", "area") else None
        said = element.attributes.get("title") if element.tag == "abbr" else said
        if said and said.strip():
            return said.strip()[:max_chars]
    return text_of(item.element, max_chars=max_chars)


def plain(value: Value, *, max_chars: int = 2_000, inside: bool = True) -> str:
    """What a `p-` says; of an item its name. `inside` false: without looking into items."""
    if inside and value.item is not None and (name := name_of(value.item, max_chars=max_chars)):
        return name
    element = value.element
    said = _by_pattern(element) or _by_attribute(element)
    return said.strip()[:max_chars] if said is not None else text_of(element, max_chars=max_chars)


def urls_of(item: Item, name: str, *, inside: bool = True) -> list[str]:
    """The URLs that a property has, as they stand there; with `url` and `photo` the implied one, too.

    Of a property that is an item it is the item's `url`; `inside` false: not that.
    """
    said = [href for value in item.properties.get(name, ())[:MAX_VALUES] for href in _url(value, inside)]
    if said or item.nested or item.classic or "u" in item.prefixes or name not in ("url", "photo"):
        return said
    attributes = {"url": {"a": "href", "area": "href"}, "photo": {"img": "src", "object": "data"}}[name]
    for element in _only_children(item.element, [*attributes]):
        href = element.attributes.get(attributes.get(element.tag, ""))
        if href is not None:
            return [href]
    return []


def time_of(item: Item, name: str) -> str:
    """A date, or date and time, as it stands there; empty where there is none."""
    for value in item.properties.get(name, ())[:MAX_VALUES]:
        element = value.element
        parts = _pattern(element)
        said = _joined(parts) if parts else element.attributes.get("datetime") or _by_attribute(element)
        said = " ".join((said or text_of(element, max_chars=60)).split())[:40]
        if re.match(r"\d{4}-\d{2}", said):
            return said
    return ""


def _url(value: Value, inside: bool) -> list[str]:
    element, tag = value.element, value.element.tag
    name = "href" if tag in ("a", "area", "link") else _SOURCES.get(tag, "")
    href = element.attributes.get(name) if name else None
    if href is not None:
        return [href]
    if inside and value.item is not None and (theirs := urls_of(value.item, "url", inside=False)):
        return theirs
    said = _by_pattern(element) or _by_attribute(element)
    said = said if said is not None else text_of(element, max_chars=2_048, max_nodes=100)
    return [said.strip()] if said.strip() else []


def _by_attribute(element: Element) -> str | None:
    attributes = element.attributes
    match element.tag:
        case "abbr" | "link":
            return attributes.get("title")
        case "data" | "input":
            return attributes.get("value")
        case "img" | "area":
            return attributes.get("alt") or ""
        case _:
            return None


def _by_pattern(element: Element) -> str | None:
    parts = _pattern(element)
    return "".join(parts) if parts else None


def _pattern(element: Element) -> list[str]:
    """The value-class pattern: what the descendants with the class `value` say, each as its tag demands."""
    parts: list[str] = []
    stack = [child for child in reversed(element.children) if not isinstance(child, str)]
    for _ in range(100):
        if not stack:
            break
        child = stack.pop()
        classes = words(child.attributes.get("class", ""))
        if "value-title" in classes:
            parts.append(child.attributes.get("title") or "")
        elif "value" in classes:
            said = child.attributes.get("datetime") or _by_attribute(child)
            parts.append(said if said is not None else text_of(child, max_chars=300, max_nodes=100))
        elif not any(word.startswith(("h-", "p-", "u-", "dt-", "e-")) for word in classes):
            stack.extend(each for each in reversed(child.children) if not isinstance(each, str))
    return [part for part in parts if part]


def _joined(parts: list[str]) -> str:
    """Date, time and zone from pieces in whichever order."""
    found: dict[str, str] = {}
    for part in parts:
        if match := _TIMES.fullmatch(part.strip()):
            for key, said in match.groupdict().items():
                if said:
                    found.setdefault(key, said)
    if "date" not in found:
        return ""
    return found["date"] + (f"T{found['time']}{found.get('zone', '')}" if "time" in found else "")


def _only_children(element: Element, of: list[str] | None = None) -> Iterator[Element]:
    """The element itself, its only child (of one of these tags), and the only child of an only child.

    A child that is an item of its own implies nothing for the item around it.
    """
    yield element
    for _ in range(2):
        inside = [child for child in element.children[:50] if not isinstance(child, str)]
        if of:
            for tag in of:
                same = [child for child in inside if child.tag == tag]
                if len(same) == 1 and not _is_item(same[0]):
                    yield same[0]
        elif len(inside) == 1 and not _is_item(inside[0]):
            yield inside[0]
        if len(inside) != 1 or _is_item(inside[0]):
            return
        element = inside[0]


def _is_item(element: Element) -> bool:
    return any(word.startswith("h-") for word in words(element.attributes.get("class", "")))
