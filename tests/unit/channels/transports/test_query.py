from typing import Any

import pytest

from holdfast.channels.transports.query import MAX_DEPTH, MAX_PAIRS, parse


@pytest.mark.parametrize(
    ("query", "found"),
    [
        (b"", {}),
        (b"vsn=2.0.0", {"vsn": "2.0.0"}),
        (b"id=1&&vsn=2.0.0&", {"id": "1", "vsn": "2.0.0"}),
        (b"user%5Bid%5D=1&user[name]=A+B%2B", {"user": {"id": "1", "name": "A B+"}}),
        (b"k[0]=a&k[1]=b", {"k": {"0": "a", "1": "b"}}),
        (b"k[]=a&k[]=b", {"k": ["a", "b"]}),
        (b"a[b][c]=1&a[b][d]=2", {"a": {"b": {"c": "1", "d": "2"}}}),
        (b"a=1&a=2", {"a": "2"}),
        (b"a=1&a[b]=2", {"a": {"b": "2"}}),
        (b"a[b]=2&a=1", {"a": "1"}),
        (b"flag", {"flag": ""}),
        (b"a[=1", {"a[": "1"}),
        (b"[x]=1", {"[x]": "1"}),
        (b"name=%C3%A9%FF", {"name": "\u00e9\ufffd"}),
    ],
)
def test_a_query_is_nested_as_the_client_meant_it(query: bytes, found: dict[str, Any]) -> None:
    assert parse(query) == found


def test_depth_is_bounded() -> None:
    inner = b"[a]" * (MAX_DEPTH - 1)
    parse(b"a" + inner + b"=1")
    with pytest.raises(ValueError, match="deep"):
        parse(b"a" + inner + b"[a]=1")


def test_the_number_of_pairs_is_bounded() -> None:
    parse(b"&".join([b"a=1"] * MAX_PAIRS))
    with pytest.raises(ValueError, match="fields"):
        parse(b"&".join([b"a=1"] * (MAX_PAIRS + 1)))
