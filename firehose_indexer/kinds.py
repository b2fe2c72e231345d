"""How the text of a setting becomes its value, and what a value may be."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from ipaddress import ip_address
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit


class Kind(NamedTuple):
    """How text becomes a value. ``parse`` raises ValueError saying what is wrong with it."""

    legal: str
    metavar: str
    parse: Callable[[str], Any]


class Bind(NamedTuple):
    """A listening address. ``str()`` gives ``host:port`` with IPv6 in brackets."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def whole(low: int, high: int) -> Kind:
    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise ValueError("is not a whole number") from None
        if not low <= value <= high:
            raise ValueError(f"is not between {low} and {high}")
        return value

    return Kind(f"a number from {low} to {high}", "N", parse)


def choice(*words: str) -> Kind:
    def parse(text: str) -> str:
        for word in words:
            if word.casefold() == text.casefold():
                return word
        raise ValueError(f"is not one of: {', '.join(words)}{did_you_mean(text, words)}")

    return Kind(f"one of {', '.join(words)}", "|".join(words).lower(), parse)


def _switch(text: str) -> bool:
    words = {
        "1": True,
        "true": True,
        "yes": True,
        "on": True,
        "0": False,
        "false": False,
        "no": False,
        "off": False,
    }
    try:
        return words[text.casefold()]
    except KeyError:
        raise ValueError("is not 0 or 1") from None


def _words(text: str) -> tuple[str, ...]:
    if text.startswith("@"):
        try:
            text = Path(text[1:]).expanduser().read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(f"names a file that cannot be read ({error})") from None
    found = tuple(word.strip() for line in text.splitlines() for word in line.split(",") if word.strip())
    if not found:
        raise ValueError("is empty")
    return found


def _addresses(text: str) -> tuple[str, ...]:
    words = _words(text)
    for word in words:
        try:
            ip_address(word)
        except ValueError:
            raise ValueError(f"holds {word!r}, which is not an IP address") from None
    return words


def _folder(text: str) -> Path:
    if not text or "\0" in text:
        raise ValueError("is not a path")
    return Path(text).expanduser()


def _dsn(text: str) -> str:
    if not text.startswith(("postgresql://", "postgres://")):
        raise ValueError("does not start with postgresql://")
    return text


def _url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
        raise ValueError("is not an http or https URL")
    return text.rstrip("/")


def _address(text: str) -> Bind:
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]") if host.startswith("[") else host
    if not host or not port.isascii() or not port.isdigit() or not 0 <= int(port) <= 65_535:
        raise ValueError("is not host:port")
    return Bind(host, int(port))


SWITCH = Kind("0 or 1", "0|1", _switch)
WORDS = Kind("a comma-separated list, or @file", "LIST", _words)
ADDRESSES = Kind("a comma-separated list of IP addresses, or @file", "LIST", _addresses)
FOLDER = Kind("a path", "PATH", _folder)
DSN = Kind("postgresql://user@host/database", "URL", _dsn)
URL = Kind("https://host", "URL", _url)
ADDRESS = Kind("host:port", "HOST:PORT", _address)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A sentence to append to a refusal, or nothing."""
    near = difflib.get_close_matches(word, list(known), n=1)
    return f". Did you mean {near[0]}?" if near else ""
