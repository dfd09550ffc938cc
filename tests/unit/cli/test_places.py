"""Whether a URL is of a site."""

import pytest

from holdfast.cli.places import is_of


@pytest.mark.parametrize(
    ("url", "site", "answer"),
    [
        ("https://alice.example/a", "https://alice.example", True),
        ("http://ALICE.example", "https://alice.example/", True),
        ("https://alice.example/blog", "https://alice.example/blog/", True),
        ("https://alice.example/blogs", "https://alice.example/blog", False),
        ("https://alice.example.org/", "https://alice.example", False),
        ("https://alice.example:8000/", "https://alice.example", False),
    ],
)
def test_a_url_is_of_a_site_by_host_port_and_whole_segments(url, site, answer):
    assert is_of(url, site) is answer
