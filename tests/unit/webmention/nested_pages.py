"""Megabytes of markup that costs quadratic time, or memory, in parsers that build what the HTML standard says."""

MEGABYTE = 1_000_000


def _filled(piece: str) -> str:
    return piece * (MEGABYTE // len(piece))


HALF = MEGABYTE // 2

NESTED = {
    "div": _filled("<div>"),
    "b": _filled("<b>"),
    "a": _filled("<a>"),
    "table": _filled("<table>"),
    "cells": _filled("<table><tr><td>"),
    "lists": _filled("<ul><li>"),
    "items": _filled("<li>"),
    "paragraphs": _filled("<p>"),
    "open formatting, reopened in every paragraph": "<p>"
    + "".join(f"<b a{n:x}>" for n in range(HALF // 10))
    + "</p>"
    + "<p>x" * (HALF // 4),
    "formatting around blocks": "<b><div>" * (HALF // 8) + "</b>" * (HALF // 4),
    "ends that nothing opened": "<div>" * (HALF // 5) + "</i>" * (HALF // 4),
    "ends that a block hides": "<span>" + "<div>" * 198 + _filled("</span>"),
    "ends that a cell hides": "<div><td>" + "<b>" * 197 + _filled("</div>"),
    "paragraphs in buttons": _filled("<p><button>"),
    "text in tables": _filled("<table>x"),
    "templates": _filled("<template>"),
    "drawings": _filled("<svg><title>"),
    "options": _filled("<select><option>"),
    "comments": _filled("<!--"),
    "quotes": _filled('<a b="'),
    "attributes": "<a " + _filled("b ") + ">",
    "classes": '<a class="' + _filled("h-entry ") + '">',
    "slashes": "<a" + _filled("/") + ">",
    "equals": "<a " + _filled("=") + ">",
    "brackets": _filled("<"),
    "references": _filled("&"),
    "long references": _filled("&amp"),
    "digits": "&#" + "9" * MEGABYTE,
    "scripts": _filled("<script>"),
    "titles": _filled("</title><title>"),
    "declarations": _filled("<!"),
    "sections": _filled("<svg><![CDATA["),
}

FLAT = _filled("<div>x</div>")
