"""Whether a URL is of a site. Pure."""

from __future__ import annotations

from urllib.parse import urlsplit

__all__ = ["is_of"]


def is_of(url: str, site: str) -> bool:
    """Whether it is the site's or below it, whichever of http and https either says."""
    mine, other = urlsplit(site), urlsplit(url)
    path = mine.path.rstrip("/") + "/"
    return mine.netloc.lower() == other.netloc.lower() and (other.path + "/").startswith(path)
