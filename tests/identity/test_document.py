from __future__ import annotations

import json
from pathlib import Path

import pytest

from firehose_indexer.errors import ConfigError, Reason
from firehose_indexer.identity.document import MAX_DOCUMENT, claimed_handle, host_url, parse_document
from firehose_indexer.identity.file import read_identities
from firehose_indexer.identity.outcome import DidDocument
from firehose_indexer.repo.keys import Curve, PrivateKey

DEVNET = Path(__file__).parents[1] / "data" / "devnet" / "devnet-small.identities.jsonl"
DID = "did:plc:ewvi7nxzyoun6zhxrhs64oiz"
KEY = PrivateKey.from_seed(b"a")
OTHER = PrivateKey.from_seed(b"b", Curve.P256)


def method(key=KEY, **changes):
    return {
        "id": "#atproto",
        "type": "Multikey",
        "controller": DID,
        "publicKeyMultibase": key.multikey(),
    } | changes


def service(**changes):
    whole = {
        "id": "#atproto_pds",
        "type": "AtprotoPersonalDataServer",
        "serviceEndpoint": "https://pds.example.com",
    }
    return whole | changes


def parsed(**document):
    return parse_document(DID, json.dumps({"id": DID, **document}).encode())


def test_the_usual_document():
    found = parsed(alsoKnownAs=["at://Alice.Example.com"], verificationMethod=[method()], service=[service()])
    assert found == (
        DID,
        KEY.public_key,
        None,
        "https://pds.example.com",
        "alice.example.com",
        None,
        None,
        False,
    )


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"null", b"\xff", b"{" * 5000, b'{"id": 1}', b'{"id": "did:plc:x"}']
)
def test_what_is_not_this_dids_document_is_bad(body):
    with pytest.raises(DidDocument):
        parse_document(DID, body)


def test_ids_may_be_absolute_and_the_first_of_equals_wins():
    found = parsed(verificationMethod=[method(id=f"{DID}#atproto"), method(OTHER)])
    assert found.key == KEY.public_key
    assert parsed(verificationMethod=[method(OTHER), method()]).key == OTHER.public_key


@pytest.mark.parametrize(
    ("methods", "problem"),
    [
        (None, Reason.key_missing),
        ([], Reason.key_missing),
        ("no list", Reason.key_missing),
        ([None, 1, {"id": "#other"}, {"id": "did:plc:x#atproto"}], Reason.key_missing),
        ([method(controller="did:plc:x"), method()], Reason.key_missing),
        ([method(type="Ed25519VerificationKey2020"), method()], Reason.key_unsupported),
        ([method(publicKeyMultibase="z123")], Reason.key_unsupported),
        ([method(publicKeyMultibase=None)], Reason.key_unsupported),
    ],
)
def test_a_document_without_a_usable_key_says_which(methods, problem):
    found = parsed(verificationMethod=methods)
    assert (found.key, found.key_problem) == (None, problem)


@pytest.mark.parametrize(
    ("names", "claim"),
    [
        (["https://x.com", "at://not_a_handle", "at://b.example.com", "at://c.example.com"], "b.example.com"),
        (["at://did:plc:x"], None),
        ([1, None], None),
        ("at://a.example.com", None),
        (None, None),
    ],
)
def test_the_claim_is_the_first_that_is_a_handle(names, claim):
    assert claimed_handle(names) == claim


@pytest.mark.parametrize(
    "url",
    [
        *(
            "http://pds.example.com",
            "https://u@pds.example.com",
            "https://pds.example.com/path",
            "ftp://x.com",
        ),
        *(
            "https://pds.example.com?q=1",
            "https://pds.example.com/#f",
            "https://",
            "",
            None,
            7,
            ["https://x.com"],
        ),
        *("https://pds.example.com:99999", "https://pds.exa mple.com", "https://pds.example.com\\x"),
    ],
)
def test_an_endpoint_that_is_no_bare_https_url_is_none(url):
    assert host_url(url) is None
    assert parsed(service=[service(serviceEndpoint=url)]).pds is None


def test_an_endpoint_loses_its_slash_and_http_is_for_tests():
    assert host_url("https://PDS.example.com/") == "https://pds.example.com"
    assert host_url("http://localhost:2583", local=True) == "http://localhost:2583"
    assert parsed(service=[service(type="Other")]).pds is None


def test_a_labeler_has_its_own_service_and_key():
    label = service(id="#atproto_labeler", type="AtprotoLabeler", serviceEndpoint="https://mod.example.com")
    found = parsed(service=[label], verificationMethod=[method(OTHER, id="#atproto_label")])
    assert (found.labeler, found.label_key, found.key) == ("https://mod.example.com", OTHER.public_key, None)


def test_real_documents_of_the_older_form_are_read():
    found = list(read_identities(DEVNET))
    assert len(found) > 150
    assert all(one.key is not None and one.pds == "http://localhost:2583" for one in found)


@pytest.mark.parametrize("line", ["no json", "[]", "{}", '{"id": 5}'.ljust(20), "x" * (3 * MAX_DOCUMENT)])
def test_a_file_with_a_bad_line_names_it(tmp_path, line):
    path = tmp_path / "identities.jsonl"
    good = json.dumps({"id": DID})
    path.write_text(f"{good}\n{line}\n")
    with pytest.raises(ConfigError, match="line 2"):
        list(read_identities(path))
