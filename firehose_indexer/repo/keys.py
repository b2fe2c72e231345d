"""Signing keys of accounts: K-256 and P-256, signatures of 64 bytes with low S (spec/protocol §5.3)."""

from __future__ import annotations

from enum import Enum
from functools import cached_property
from hashlib import sha256
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from firehose_indexer.errors import CommitError, Reason

if TYPE_CHECKING:
    from collections.abc import Callable

try:
    import coincurve
except ImportError:  # no wheel for this platform: the slower library knows both curves
    coincurve = None  # type: ignore[assignment]


class Curve(Enum):
    """A curve of the protocol: multicodec prefix, order of the group, name in legacy documents."""

    K256 = (b"\xe7\x01", 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141)
    P256 = (b"\x80\x24", 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551)

    def __init__(self, prefix: bytes, order: int) -> None:
        self.prefix = prefix
        self.order = order
        self.half = order // 2

    def library(self) -> ec.EllipticCurve:
        return ec.SECP256K1() if self is Curve.K256 else ec.SECP256R1()


_LEGACY = {
    "EcdsaSecp256k1VerificationKey2019": Curve.K256,
    "EcdsaSecp256r1VerificationKey2019": Curve.P256,
}
_SHA256 = ec.ECDSA(hashes.SHA256())
_DETERMINISTIC = ec.ECDSA(hashes.SHA256(), deterministic_signing=True)


class PublicKey:
    """A point on one of the two curves. Make one per identity and keep it: decoding costs more than verifying."""

    def __init__(self, curve: Curve, point: bytes) -> None:
        """``point``: SEC1, 33 bytes compressed or 65 uncompressed. Raises CommitError key_unsupported."""
        try:
            key = ec.EllipticCurvePublicKey.from_encoded_point(curve.library(), point)
        except ValueError as error:
            raise CommitError(Reason.key_unsupported, "not a point on the curve") from error
        self.curve = curve
        self.point = key.public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
        self._check = _checker(curve, key, self.point)

    @classmethod
    def from_did_key(cls, text: str) -> PublicKey:
        """``did:key:z…``. Raises CommitError key_unsupported."""
        if not text.startswith("did:key:"):
            raise CommitError(Reason.key_unsupported, "not a did:key")
        return cls.from_multikey(text[8:])

    @classmethod
    def from_multikey(cls, text: str) -> PublicKey:
        """``z`` and base58btc of curve prefix and compressed point. Raises CommitError key_unsupported."""
        data = _multibase(text)
        for curve in Curve:
            if data[:2] == curve.prefix and len(data) == 35:
                return cls(curve, data[2:])
        raise CommitError(Reason.key_unsupported, "unknown multikey")

    @classmethod
    def from_method(cls, kind: str, text: str) -> PublicKey:
        """``type`` and ``publicKeyMultibase`` of a verification method: Multikey, or one of the two legacy types,
        where the type names the curve and the point comes bare. Raises CommitError key_unsupported.
        """
        if kind == "Multikey":
            return cls.from_multikey(text)
        if kind not in _LEGACY:
            raise CommitError(Reason.key_unsupported, "unknown key type")
        return cls(_LEGACY[kind], _multibase(text))

    def verify(self, message: bytes, signature: bytes) -> None:
        """Check a signature over SHA-256 of ``message``.

        Raises CommitError: sig_format (not 64 bytes, or r or s out of range), sig_high_s, sig_invalid.
        """
        if len(signature) != 64:
            raise CommitError(Reason.sig_format, f"{len(signature)} bytes")
        r = int.from_bytes(signature[:32])
        s = int.from_bytes(signature[32:])
        curve = self.curve
        if not (0 < r < curve.order and 0 < s < curve.order):
            raise CommitError(Reason.sig_format, "out of range")
        # The libraries accept both s and order - s; only one of them is legal here.
        if s > curve.half:
            raise CommitError(Reason.sig_high_s)
        if not self._check(encode_dss_signature(r, s), message):
            raise CommitError(Reason.sig_invalid)

    def multikey(self) -> str:
        return "z" + b58encode(self.curve.prefix + self.point)

    def did_key(self) -> str:
        return "did:key:" + self.multikey()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PublicKey) and (self.curve, self.point) == (other.curve, other.point)

    def __hash__(self) -> int:
        return hash((self.curve, self.point))


def _checker(curve: Curve, key: ec.EllipticCurvePublicKey, point: bytes) -> Callable[[bytes, bytes], bool]:
    """What tells whether (DER signature, message) is good, by the fastest library that knows the curve."""
    if curve is Curve.K256 and coincurve is not None:
        verify: Callable[[bytes, bytes], bool] = coincurve.PublicKey(point).verify
        return verify

    def check(der: bytes, message: bytes) -> bool:
        try:
            key.verify(der, message, _SHA256)
        except InvalidSignature:
            return False
        return True

    return check


class PrivateKey:
    """A signing key, made from a seed so that the same seed always gives the same key and signatures."""

    def __init__(self, curve: Curve, secret: bytes) -> None:
        """``secret``: 32 bytes big-endian, 1 ≤ value < order. Raises ValueError otherwise."""
        if len(secret) != 32:
            raise ValueError("a secret has 32 bytes")
        self.curve = curve
        self.secret = secret
        self._key = ec.derive_private_key(int.from_bytes(secret), curve.library())
        self._fast = coincurve.PrivateKey(secret) if curve is Curve.K256 and coincurve is not None else None

    @classmethod
    def from_seed(cls, seed: bytes, curve: Curve = Curve.K256) -> PrivateKey:
        """The key of a seed of any length. For simulations and tests: as secret as its seed."""
        number = int.from_bytes(sha256(curve.name.encode() + b":" + seed).digest())
        return cls(curve, (number % (curve.order - 1) + 1).to_bytes(32))

    @cached_property
    def public_key(self) -> PublicKey:
        point = self._key.public_key().public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
        return PublicKey(self.curve, point)

    def sign(self, message: bytes) -> bytes:
        """64 bytes r ‖ s over SHA-256 of ``message``, low S, the same every time (RFC 6979)."""
        if self._fast is not None:
            signature: bytes = self._fast.sign_recoverable(message)[:64]
            return signature
        r, s = decode_dss_signature(self._key.sign(message, _DETERMINISTIC))
        return r.to_bytes(32) + min(s, self.curve.order - s).to_bytes(32)

    def multikey(self) -> str:
        return self.public_key.multikey()

    def did_key(self) -> str:
        return self.public_key.did_key()


_ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_DIGITS = {character: value for value, character in enumerate(_ALPHABET)}


def b58encode(data: bytes) -> str:
    """base58btc, without a multibase prefix."""
    number = int.from_bytes(data)
    out: list[str] = []
    while number:
        number, digit = divmod(number, 58)
        out.append(_ALPHABET[digit])
    zeros = len(data) - len(data.lstrip(b"\0"))
    return "1" * zeros + "".join(reversed(out))


def b58decode(text: str) -> bytes:
    """Raises ValueError on a foreign character, and on more than 128 of them (no key is that long)."""
    if len(text) > 128:
        raise ValueError("too long for a key")
    number = 0
    for character in text:
        digit = _DIGITS.get(character)
        if digit is None:
            raise ValueError("not base58btc")
        number = number * 58 + digit
    zeros = len(text) - len(text.lstrip("1"))
    return b"\0" * zeros + number.to_bytes((number.bit_length() + 7) // 8)


def _multibase(text: str) -> bytes:
    if not text.startswith("z"):
        raise CommitError(Reason.key_unsupported, "not base58btc")
    try:
        return b58decode(text[1:])
    except ValueError as error:
        raise CommitError(Reason.key_unsupported, str(error)) from error
