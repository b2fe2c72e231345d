from __future__ import annotations

import pytest

from firehose_indexer.masking import mask


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://u:sesame@h/d",
        "cannot reach postgresql://u:sesame@h:5432/d now",
        "postgresql://u:ses@me/sesame@h/d",
        "postgresql://:sesame@h/d",
        "host=h password=sesame user=u",
        "host=h password='open sesame' user=u",
        "postgresql://h/d?user=u&password=sesame",
        "postgresql://h/d?sslpassword=sesame",
        "Authorization: Bearer sesame",
    ],
)
def test_credentials_are_hidden(text):
    masked = mask(text)
    assert "sesame" not in masked
    assert "***" in masked


@pytest.mark.parametrize(
    "text",
    [
        "wss://bsky.network:443/xrpc",
        "postgresql://u@h/d",
        "at://did:plc:abc/app.bsky.feed.post/1",
        "10:30 a@b",
    ],
)
def test_other_text_is_left_alone(text):
    assert mask(text) == text
