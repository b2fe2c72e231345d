from __future__ import annotations

import pytest

from firehose_indexer.config import Settings
from firehose_indexer.door import refuse_directory
from firehose_indexer.errors import ConfigError
from firehose_indexer.metrics import Metrics
from firehose_indexer.stream.transport import UnreachableError, opened
from firehose_indexer.taping import dialing
from tests.stream.stream_wire import refusal, relay


@pytest.mark.parametrize(
    "url", ["http://plc.example.com", "https://10.0.0.1", "https://plc.example.com:2582"]
)
def test_a_directory_behind_the_guard_is_for_devnets(url):
    with pytest.raises(ConfigError) as caught:
        refuse_directory(Settings(plc_url=url))
    assert "ALLOW_PRIVATE_HOSTS" in caught.value.hint
    refuse_directory(Settings(plc_url=url, allow_private_hosts=True))


async def test_a_private_relay_may_be_chosen_and_may_not_redirect_to_a_private_host():
    metrics = Metrics()
    async with relay([1000]) as target:
        there = refusal(302, Location=target.url)
        async with relay(there) as server:
            with pytest.raises(UnreachableError, match="redirect refused"):
                async with opened(server.url, dialing(Settings(), metrics)):
                    pass
            assert target.paths == []
            async with opened(server.url, dialing(Settings(allow_private_hosts=True), metrics)):
                pass
        assert target.paths == ["/"]
    refused = metrics.registry.get_sample_value("firehose_outbound_refused_total", {"reason": "port"})
    assert refused == 1
