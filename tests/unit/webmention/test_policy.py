"""Which addresses are refused, however they are spelled, and what an exception is."""

from __future__ import annotations

import dataclasses
import ipaddress

import pytest

from holdfast.errors import AddressRefused
from holdfast.webmention.policy import NetworkPolicy

POLICY = NetworkPolicy()

REFUSED = {
    # the first and the last address of each range
    "0.0.0.0": "unspecified",
    "0.255.255.255": "unspecified",
    "10.0.0.0": "private",
    "10.255.255.255": "private",
    "100.64.0.0": "carrier",
    "100.127.255.255": "carrier",
    "127.0.0.0": "loopback",
    "127.0.0.1": "loopback",
    "127.255.255.255": "loopback",
    "169.254.0.1": "link-local",
    "169.254.255.255": "link-local",
    "172.16.0.0": "private",
    "172.31.255.255": "private",
    "192.0.0.1": "protocols",
    "192.0.2.1": "documentation",
    "192.88.99.1": "protocols",
    "192.168.0.0": "private",
    "192.168.255.255": "private",
    "198.18.0.0": "benchmarks",
    "198.19.255.255": "benchmarks",
    "198.51.100.7": "documentation",
    "203.0.113.7": "documentation",
    "224.0.0.1": "multicast",
    "239.255.255.255": "multicast",
    "240.0.0.1": "reserved",
    "255.255.255.255": "broadcast",
    # metadata
    "169.254.169.254": "metadata",
    "100.100.100.200": "metadata",
    "192.0.0.192": "metadata",
    "168.63.129.16": "metadata",
    "fd00:ec2::254": "metadata",
    "fd20:ce::254": "metadata",
    # IPv6
    "::": "unspecified",
    "::1": "loopback",
    "100::1": "protocols",
    "2001:2::1": "benchmarks",
    "2001:10::1": "protocols",
    "2001:20::1": "protocols",
    "2001:1::1": "not a public",
    "2001:db8::1": "documentation",
    "3fff::1": "documentation",
    "5f00::1": "not a public",
    "4000::1": "not a public",
    "fc00::1": "unique local",
    "fdff::1": "unique local",
    "fe80::1": "link-local",
    "febf::1": "link-local",
    "fec0::1": "unique local",
    "ff02::1": "multicast",
    "2606:4700::1%eth0": "one link",
    # IPv4 inside IPv6, the public ones too
    "::7f00:1": "inside IPv6",
    "::ffff:127.0.0.1": "inside IPv6",
    "::ffff:8.8.8.8": "inside IPv6",
    "::ffff:0:127.0.0.1": "inside IPv6",
    "64:ff9b::7f00:1": "inside IPv6",
    "64:ff9b:1::a9fe:a9fe": "inside IPv6",
    "2002:7f00:1::": "inside IPv6",
    "2001:0:7f00:1::": "inside IPv6",
    "2606:4700::5efe:7f00:1": "inside IPv6",
    "2606:4700::200:5efe:7f00:1": "inside IPv6",
    # no spelling of an address
    "2130706433": "commonly spelled",
    "0177.0.0.1": "commonly spelled",
    "127.1": "commonly spelled",
    "localhost": "commonly spelled",
    "": "commonly spelled",
}

PUBLIC = [
    "1.1.1.1",
    "9.255.255.255",
    "11.0.0.0",
    "100.63.255.255",
    "100.128.0.0",
    "126.255.255.255",
    "128.0.0.0",
    "169.253.255.255",
    "169.255.0.0",
    "172.15.255.255",
    "172.32.0.0",
    "192.0.1.0",
    "192.167.255.255",
    "192.169.0.0",
    "198.17.255.255",
    "198.20.0.0",
    "223.255.255.255",
    "2001:200::1",
    "2001:4860:4860::8888",
    "2606:4700::1111",
    "2a00:1450::1",
]


@pytest.mark.parametrize("address", REFUSED)
def test_an_address_that_is_not_of_the_public_internet_is_refused(address: str) -> None:
    with pytest.raises(AddressRefused, match=REFUSED[address]):
        POLICY.check_address("evil.example", address, 80)


@pytest.mark.parametrize("address", PUBLIC)
def test_an_address_of_the_public_internet_may_be_connected_to(address: str) -> None:
    POLICY.check_address("bob.example", address, 8080)


def test_everything_that_python_calls_private_is_refused() -> None:
    """The standard library's list as a second opinion: whatever it knows, ours has."""
    constants = [ipaddress.IPv4Address._constants, ipaddress.IPv6Address._constants]  # type: ignore[attr-defined]
    for networks in constants:
        for network in networks._private_networks:
            for address in (network[0], network[-1]):
                with pytest.raises(AddressRefused):
                    POLICY.check_address("evil.example", str(address), 80)


def test_a_refusal_names_the_host_and_the_reason_but_not_what_the_name_led_to() -> None:
    with pytest.raises(AddressRefused) as refused:
        POLICY.check_address("intranet.example", "10.11.12.13", 80)
    assert str(refused.value) == "connect to 'intranet.example': it is a private address"


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/",
        "http://127.0.0.1./",
        "http://2130706433/",
        "http://017700000001/",
        "http://0x7f000001/",
        "http://0x7f.0.0.1/",
        "http://0X7F.1/",
        "http://0177.0.0.1/",
        "http://127.1/",
        "http://127.0.1/",
        "http://0/",
        "http://0x/",
        "http://134744072/",  # 8.8.8.8, but one reader's decimal is another's name
        "http://[::1]/",
        "http://[0:0:0:0:0:0:0:1]/",
        "http://[::ffff:7f00:1]/",
        "http://[::ffff:127.0.0.1]/",
        "http://[64:ff9b::127.0.0.1]/",
        "http://[fe80::1%25eth0]/",
        "http://[2606:4700::1%25eth0]/",
        "http://[::1]:443/",
        "http://①②⑦.⓪.⓪.①/",
        "http://127。0。0。1/",
        "https://169.254.169.254/latest/meta-data/",
    ],
)
def test_a_host_that_is_an_address_is_judged_however_it_is_spelled(url: str) -> None:
    with pytest.raises(AddressRefused):
        POLICY.check_url(url)


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("ftp://bob.example/", "scheme 'ftp'"),
        ("file:///etc/passwd", "scheme 'file'"),
        ("gopher://bob.example/", "scheme"),
        ("//bob.example/", "scheme ''"),
        ("/post", "scheme"),
        ("", "scheme"),
        ("http://", "no name"),
        ("http:///post", "no name"),
        ("http://:80/", "no name"),
        ("http://me@bob.example/", "user name"),
        ("http://me:secret@bob.example/", "user name"),
        ("http://@bob.example/", "user name"),
        ("http://bob.example:0/", "port 0"),
        ("http://bob.example:99999/", "cannot be read"),
        ("http://bob.example:http/", "cannot be read"),
        ("http://[::1/", "cannot be read"),
        ("http://bob.example\\@127.0.0.1/", "backslash"),
        ("http://bob.example /", "space"),
        ("http://bob.example/\r\nHost: x", "control"),
        ("http://bob%2eexample/", "no name"),
        ("http://bob,example/", "no name"),
    ],
)
def test_a_url_that_is_no_plain_web_address_is_refused(url: str, why: str) -> None:
    with pytest.raises(AddressRefused, match=why) as refused:
        POLICY.check_url(url)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    "url",
    [
        "http://bob.example/",
        "https://BOB.example:8443/a?b=c#d",
        "http://bob.example.:25/",
        "https://bücher.example/",
        "https://xn--bcher-kva.example/",
        "http://1.1.1.1/",
        "http://[2606:4700::1111]:8080/",
        "http://example.com1/",
        "http://under_score.example/@bob",
    ],
)
def test_a_web_address_of_any_port_may_be_fetched(url: str) -> None:
    POLICY.check_url(url)


def test_an_exception_is_one_address_with_one_port() -> None:
    policy = NetworkPolicy(allow=["127.0.0.1:8931"])
    policy.check_url("http://127.0.0.1:8931/post")
    policy.check_address("localhost", "127.0.0.1", 8931)
    for host, address, port in [
        ("127.0.0.1", "127.0.0.1", 8932),
        ("127.0.0.2", "127.0.0.2", 8931),
        ("::ffff:127.0.0.1", "::ffff:127.0.0.1", 8931),
        ("localhost", "::1", 8931),
    ]:
        with pytest.raises(AddressRefused):
            policy.check_address(host, address, port)
    with pytest.raises(AddressRefused):
        policy.check_url("http://2130706433:8931/")


def test_an_exception_by_name_leads_anywhere_on_its_port() -> None:
    policy = NetworkPolicy(allow=["Blog.Test:8931"])
    policy.check_address("blog.test", "127.0.0.1", 8931)
    policy.check_address("blog.test.", "10.0.0.1", 8931)
    with pytest.raises(AddressRefused):
        policy.check_address("blog.test", "127.0.0.1", 80)
    with pytest.raises(AddressRefused):
        policy.check_address("www.blog.test", "127.0.0.1", 8931)


def test_an_exception_in_ipv6_stands_in_brackets_and_has_one_spelling() -> None:
    policy = NetworkPolicy(allow=["[0:0::1]:8931"])
    policy.check_url("http://[::1]:8931/")
    with pytest.raises(AddressRefused):
        policy.check_url("http://[::1]/")


@pytest.mark.parametrize(
    "entry",
    [
        "*",
        "*:80",
        "127.0.0.1",
        "127.0.0.0/8:80",
        "127.0.0.1:*",
        "127.0.0.1:0",
        "127.0.0.1:70000",
        ":80",
        "",
        "127.1:80",
        "::1:80",
        "[::1]",
        "[nonsense]:80",
        "http://127.0.0.1:80",
        "*.example:80",
        "a b:80",
    ],
)
def test_an_exception_that_is_not_one_host_with_one_port_is_a_value_error(entry: str) -> None:
    with pytest.raises(ValueError):
        NetworkPolicy(allow=[entry])


def test_one_exception_that_is_not_in_a_list_is_a_type_error() -> None:
    with pytest.raises(TypeError):
        NetworkPolicy(allow="127.0.0.1:80")


def test_a_policy_is_frozen_and_equal_to_one_with_the_same_exceptions() -> None:
    policy = NetworkPolicy(allow=["127.0.0.1:80"])
    with pytest.raises(dataclasses.FrozenInstanceError):
        policy.allow = ()  # type: ignore[misc]
    assert policy == NetworkPolicy(allow=("127.0.0.1:80",))
    assert policy != NetworkPolicy()
