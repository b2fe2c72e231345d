from __future__ import annotations

import pytest

from firehose_indexer.errors import ConfigError
from firehose_indexer.stream.source import parse_source

PATH = "/xrpc/com.atproto.sync.subscribeRepos"


@pytest.mark.parametrize(
    ("text", "host", "url"),
    [
        ("bsky.network", "bsky.network", "wss://bsky.network"),
        (" BSKY.Network. ", "bsky.network", "wss://bsky.network"),
        ("https://bsky.network", "bsky.network", "wss://bsky.network"),
        ("wss://bsky.network:443/", "bsky.network", "wss://bsky.network"),
        ("wss://r.example:8443", "r.example:8443", "wss://r.example:8443"),
        ("bsky.network:2470", "bsky.network:2470", "wss://bsky.network:2470"),
        (f"wss://r.example{PATH}?cursor=9#x", "r.example", "wss://r.example"),
        ("http://localhost:2583", "localhost:2583", "ws://localhost:2583"),
        ("localhost:2583", "localhost:2583", "ws://localhost:2583"),
        ("ws://[::1]:80", "[::1]", "ws://[::1]"),
        ("ws://127.8.9.1", "127.8.9.1", "ws://127.8.9.1"),
    ],
)
def test_every_form_of_a_relay_url_names_one_host(text, host, url):
    source = parse_source(text)
    assert (source.host, source.url) == (host, url + PATH)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "  ",
        "://x",
        "ftp://r.example",
        "ws://r.example",
        "http://10.0.0.1",
        "wss://u:p@r.example",
        "wss://r:x",
        "a b",
    ],
)
def test_what_cannot_be_used_is_a_configuration_error_with_a_hint(text):
    with pytest.raises(ConfigError) as refused:
        parse_source(text)
    assert refused.value.hint
    assert "p@" not in str(refused.value)


def test_plain_text_beyond_loopback_only_when_allowed():
    assert parse_source("ws://relay.lan", allow_insecure=True).url == f"ws://relay.lan{PATH}"


def test_cursor_is_part_of_the_url_only_when_there_is_one():
    source = parse_source("r.example")
    assert source.at(None) == f"wss://r.example{PATH}"
    assert source.at(0) == f"wss://r.example{PATH}?cursor=0"
