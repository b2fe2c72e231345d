from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest

from firehose_indexer.names import Lame, Names, NoSuchName


class Server(asyncio.DatagramProtocol):
    """Answers from a zone of (name, type) → values; "SERVFAIL" for a value is one."""

    def __init__(self, zone: dict[tuple[str, str], list[str]]) -> None:
        self.zone = zone

    def connection_made(self, transport) -> None:
        self.transport = transport

    def datagram_received(self, data, address) -> None:
        query = dns.message.from_wire(data)
        (question,) = query.question
        response = dns.message.make_response(query)
        response.flags |= dns.flags.RA
        kind = dns.rdatatype.to_text(question.rdtype)
        name = question.name.to_text(omit_final_dot=True)
        values = self.zone.get((name, kind))
        if values == ["SERVFAIL"]:
            response.set_rcode(dns.rcode.SERVFAIL)
        elif values:
            response.answer.append(dns.rrset.from_text(question.name, 60, "IN", kind, *values))
        elif not any(known == name for known, _ in self.zone):
            response.set_rcode(dns.rcode.NXDOMAIN)
        self.transport.sendto(response.to_wire(), address)


@asynccontextmanager
async def serving(zone):
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(lambda: Server(zone), local_addr=("127.0.0.1", 0))
    try:
        yield Names(["127.0.0.1"], port=transport.get_extra_info("sockname")[1])
    finally:
        transport.close()


async def test_addresses_are_those_of_both_families():
    zone = {("a.example.com", "A"): ["1.2.3.4", "1.2.3.5"], ("a.example.com", "AAAA"): ["2606:4700::1"]}
    async with serving(zone) as names:
        assert sorted(await names.addresses("a.example.com")) == ["1.2.3.4", "1.2.3.5", "2606:4700::1"]
        with pytest.raises(NoSuchName):
            await names.addresses("b.example.com")


async def test_the_chunks_of_one_txt_record_are_joined_and_records_are_not():
    zone = {("_atproto.a.com", "TXT"): ['"did=did:" "plc:" "abc"', '"other"'], ("a.com", "TXT"): ["SERVFAIL"]}
    async with serving(zone) as names:
        assert sorted(await names.texts("_atproto.a.com")) == [b"did=did:plc:abc", b"other"]
        with pytest.raises(NoSuchName):
            await names.texts("_atproto.b.com")
        with pytest.raises(Lame):
            await names.texts("a.com")


async def test_half_an_answer_is_none():
    async with serving({("a.com", "A"): ["1.2.3.4"], ("a.com", "AAAA"): ["SERVFAIL"]}) as names:
        with pytest.raises(OSError):
            await names.addresses("a.com")


async def test_local_names_come_from_the_system():
    assert "127.0.0.1" in await Names(local=True).addresses("localhost")
