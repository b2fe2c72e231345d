from __future__ import annotations

import base64
import json

import pytest

from firehose_indexer.errors import CommitError, Reason
from firehose_indexer.repo import keys
from firehose_indexer.repo.car import read_car
from firehose_indexer.repo.cbor import encode
from firehose_indexer.repo.data import decode
from firehose_indexer.repo.keys import Curve, PrivateKey, PublicKey, b58decode, b58encode
from tests.repo.vectors import DATA, commits, load

MESSAGE = b"a commit without its signature"


def unpadded(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4))


@pytest.fixture(params=["the fast library", "the fallback"])
def library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "the fallback":
        monkeypatch.setattr(keys, "coincurve", None)
    else:
        assert keys.coincurve is not None


@pytest.mark.usefixtures("library")
def test_signature_fixtures_are_judged_as_they_say_in_both_forms_of_the_key() -> None:
    cases = load("crypto/signature-fixtures.json")
    assert len(cases) == 6
    reasons = []
    for case in cases:
        message, signature = unpadded(case["messageBase64"]), unpadded(case["signatureBase64"])
        for key in (
            PublicKey.from_did_key(case["publicKeyDid"]),
            PublicKey.from_method(case["didDocSuite"], case["publicKeyMultibase"]),
        ):
            assert key.did_key() == case["publicKeyDid"]
            if case["validSignature"]:
                key.verify(message, signature)
                continue
            with pytest.raises(CommitError) as caught:
                key.verify(message, signature)
            reasons.append(caught.value.reason)
    assert reasons == [Reason.sig_high_s] * 4 + [Reason.sig_format] * 4


@pytest.mark.parametrize(
    ("file", "count", "curve"),
    [("crypto/w3c_didkey_K256.json", 5, Curve.K256), ("crypto/w3c_didkey_P256.json", 1, Curve.P256)],
)
def test_private_keys_give_their_did_keys(file: str, count: int, curve: Curve) -> None:
    cases = load(file)
    assert len(cases) == count
    for case in cases:
        hexadecimal = case.get("privateKeyBytesHex")
        secret = bytes.fromhex(hexadecimal) if hexadecimal else b58decode(case["privateKeyBytesBase58"])
        assert PrivateKey(curve, secret).did_key() == case["publicDidKey"]


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize("curve", Curve)
def test_a_signature_verifies_and_is_low_and_repeats(curve: Curve) -> None:
    for seed in range(20):
        key = PrivateKey.from_seed(bytes((seed,)), curve)
        signature = key.sign(MESSAGE)
        assert len(signature) == 64
        assert int.from_bytes(signature[32:]) <= curve.half
        assert signature == PrivateKey.from_seed(bytes((seed,)), curve).sign(MESSAGE)
        key.public_key.verify(MESSAGE, signature)


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize("curve", Curve)
def test_any_other_signature_is_refused_with_its_reason(curve: Curve) -> None:
    key = PrivateKey.from_seed(b"one", curve)
    good = key.sign(MESSAGE)
    r, s = good[:32], good[32:]
    zero, order = bytes(32), curve.order.to_bytes(32)
    other = PrivateKey.from_seed(b"two", curve).sign(MESSAGE)
    cases = [
        (b"", Reason.sig_format),
        (good[:63], Reason.sig_format),
        (good + b"\0", Reason.sig_format),
        (zero + s, Reason.sig_format),
        (r + zero, Reason.sig_format),
        (order + s, Reason.sig_format),
        (r + order, Reason.sig_format),
        (b"\xff" * 64, Reason.sig_format),
        (r + (curve.order - int.from_bytes(s)).to_bytes(32), Reason.sig_high_s),
        (s + r if int.from_bytes(r) <= curve.half else r + b"\0" * 31 + b"\1", Reason.sig_invalid),
        (other, Reason.sig_invalid),
    ]
    for signature, reason in cases:
        with pytest.raises(CommitError) as caught:
            key.public_key.verify(MESSAGE, signature)
        assert caught.value.reason is reason
    with pytest.raises(CommitError):
        key.public_key.verify(MESSAGE + b".", good)


def test_the_two_curves_have_different_keys_for_one_seed() -> None:
    assert PrivateKey.from_seed(b"x", Curve.K256).secret != PrivateKey.from_seed(b"x", Curve.P256).secret


@pytest.mark.parametrize("curve", Curve)
def test_every_form_of_a_key_is_the_same_key(curve: Curve) -> None:
    key = PrivateKey.from_seed(b"forms", curve).public_key
    legacy = {
        Curve.K256: "EcdsaSecp256k1VerificationKey2019",
        Curve.P256: "EcdsaSecp256r1VerificationKey2019",
    }[curve]
    number = keys.ec.EllipticCurvePublicKey.from_encoded_point(curve.library(), key.point).public_numbers()
    uncompressed = b"\x04" + number.x.to_bytes(32) + number.y.to_bytes(32)
    forms = [
        PublicKey.from_did_key(key.did_key()),
        PublicKey.from_method("Multikey", key.multikey()),
        PublicKey.from_method(legacy, "z" + b58encode(uncompressed)),
        PublicKey.from_method(legacy, "z" + b58encode(key.point)),
    ]
    assert set(forms) == {key}


GOOD = PrivateKey.from_seed(b"good").public_key


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("Multikey", ""),
        ("Multikey", "z"),
        ("Multikey", GOOD.multikey()[1:]),
        ("Multikey", "z0OIl"),
        ("Multikey", "z" + "1" * 1_000_000),
        ("Multikey", "z" + b58encode(b"\xed\x01" + bytes(32))),
        ("Multikey", "z" + b58encode(GOOD.point)),
        ("Multikey", "z" + b58encode(b"\xe7\x01" + GOOD.point + b"\0")),
        ("Multikey", "z" + b58encode(b"\xe7\x01\x05" + GOOD.point[1:])),
        ("Multikey", "z" + b58encode(b"\xe7\x01\x02" + b"\xff" * 32)),
        ("EcdsaSecp256k1VerificationKey2019", "z" + b58encode(b"\x04" + bytes(64))),
        ("EcdsaSecp256k1VerificationKey2019", "z" + b58encode(b"\x00")),
        ("Ed25519VerificationKey2020", GOOD.multikey()),
    ],
)
def test_what_is_no_usable_key_is_unsupported(kind: str, text: str) -> None:
    with pytest.raises(CommitError) as caught:
        PublicKey.from_method(kind, text)
    assert caught.value.reason is Reason.key_unsupported


def test_a_did_key_needs_its_prefix() -> None:
    with pytest.raises(CommitError):
        PublicKey.from_did_key(GOOD.multikey())


@pytest.mark.parametrize("secret", [bytes(32), bytes(31), Curve.K256.order.to_bytes(32)])
def test_a_secret_out_of_range_is_an_error(secret: bytes) -> None:
    with pytest.raises(ValueError):
        PrivateKey(Curve.K256, secret)


def test_base58_keeps_leading_zeros() -> None:
    for data in (b"", b"\0", b"\0\0\1", b"hello", bytes(range(60))):
        assert b58decode(b58encode(data)) == data


def test_every_signature_of_the_recording_verifies() -> None:
    known = {}
    for line in (DATA / "devnet" / "devnet-small.identities.jsonl").read_text().splitlines():
        document = json.loads(line)
        method = document["verificationMethod"][0]
        known[document["id"]] = PublicKey.from_method(method["type"], method["publicKeyMultibase"])
    verified = 0
    for commit in commits():
        car = read_car(commit["blocks"])
        signed = decode(car.block(car.root))
        assert isinstance(signed, dict)
        signature = signed.pop("sig")
        assert isinstance(signature, bytes)
        known[commit["repo"]].verify(encode(signed), signature)
        verified += 1
    assert verified == 1_637
