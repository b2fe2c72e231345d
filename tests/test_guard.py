from __future__ import annotations

from ipaddress import ip_address

import pytest

from firehose_indexer.guard import OutboundRefused, Refusal, Rules, is_name, is_public

PRIVATE = (
    *("0.1.2.3", "10.0.0.1", "100.64.0.1", "100.127.255.255", "127.0.0.1", "169.254.169.254", "172.16.0.1"),
    *("172.31.255.255", "192.0.0.8", "192.0.2.1", "192.88.99.1", "192.168.1.1", "198.18.0.1", "198.19.255.1"),
    *("198.51.100.7", "203.0.113.7", "224.0.0.1", "239.1.1.1", "240.0.0.1", "255.255.255.255"),
    *("::", "::1", "::ffff:8.8.8.8", "::ffff:127.0.0.1", "64:ff9b::808:808", "fe80::1", "fc00::1", "ff02::1"),
    *("2001:db8::1", "2002:7f00:1::", "fe80::1%eth0", "2606:4700::1%eth0"),
)
PUBLIC = ("1.1.1.1", "8.8.8.8", "100.128.0.1", "172.32.0.1", "192.0.1.1", "198.20.0.1", "2606:4700::1111")
LITERALS = (
    *("127.0.0.1", "2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1", "017700000001", "127.1", "8.8.8.8"),
    *("127.0.0.1.", "0x", "1.2.3.0x4", "[::1]", "[::ffff:127.0.0.1]", "::1", "１２７.0.0.1", "127。0。0。1"),
)


@pytest.mark.parametrize("text", PRIVATE)
def test_no_stranger_may_send_us_to(text):
    assert not is_public(ip_address(text))


@pytest.mark.parametrize("text", PUBLIC)
def test_the_public_internet_is_reachable(text):
    assert is_public(ip_address(text))


@pytest.mark.parametrize("text", LITERALS)
def test_an_address_in_any_notation_is_no_name(text):
    assert not is_name(text)
    with pytest.raises(OutboundRefused):
        Rules().judge(f"https://{text}/")


@pytest.mark.parametrize(
    "text", ["", ".", "a..b", "-a.com", "a b.com", "%31.com", "a/b", "bücher.de", "a" * 64]
)
def test_what_the_dns_cannot_hold_is_no_name(text):
    assert not is_name(text)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://example.com/", Refusal.scheme),
        ("ws://example.com/", Refusal.scheme),
        ("file:///etc/passwd", Refusal.scheme),
        ("gopher://example.com/", Refusal.scheme),
        ("//example.com/", Refusal.scheme),
        ("https://user@example.com/", Refusal.userinfo),
        ("https://user:pass@example.com/", Refusal.userinfo),
        ("https://@example.com/", Refusal.userinfo),
        ("https://example.com\\@127.0.0.1/", Refusal.userinfo),
        ("https://example.com:80/", Refusal.port),
        ("https://example.com:8443/", Refusal.port),
        ("https://example.com:99999/", Refusal.url),
        ("https:///path", Refusal.host),
        ("https://127.0.0.1/", Refusal.host),
    ],
)
def test_a_url_is_refused_for_its_own_reason(url, reason):
    with pytest.raises(OutboundRefused) as caught:
        Rules().judge(url)
    assert caught.value.reason is reason


@pytest.mark.parametrize(
    "url", ["https://plc.directory/did:plc:x", "https://EXAMPLE.com:443/", "wss://a.b/x?y=1"]
)
def test_an_ordinary_url_passes(url):
    assert Rules().judge(url).port == 443


def test_the_switch_for_devnets_allows_http_ports_and_plain_addresses_only():
    rules = Rules.of(allow_private=True)
    assert rules.judge("http://127.0.0.1:2583/").port == 2583
    assert rules.judge("ws://localhost:2583/").port == 2583
    for url in ("http://2130706433/", "http://user@localhost/", "file:///etc/passwd"):
        with pytest.raises(OutboundRefused):
            rules.judge(url)
