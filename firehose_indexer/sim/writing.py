"""The records people write: posts in their many shapes, likes, follows, profiles (spec/records §2)."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Any, NamedTuple

from firehose_indexer.repo.data import cid_text
from firehose_indexer.sim.acts import Ref

if TYPE_CHECKING:
    from random import Random

Record = dict[str, Any]

POST = "app.bsky.feed.post"
LIKE = "app.bsky.feed.like"
REPOST = "app.bsky.feed.repost"
FOLLOW = "app.bsky.graph.follow"
BLOCK = "app.bsky.graph.block"
PROFILE = "app.bsky.actor.profile"
UNKNOWN = ("com.example.note", "social.example.trail.waypoint", "place.example.stream.segment")
"""Collections that no lexicon of ours describes."""

_TEXTS = {
    "en": "the a of and morning coffee train light today really think people good code river cat small again",
    "ja": "今日 は いい 天気 です ね 猫 が 好き 写真 を 撮り ました 新しい 本 読んだ 東京 雨",
    "pt": "bom dia gente hoje foi muito legal café com você não sei quando amanhã saudade futebol chuva",
    "de": "guten Morgen heute schöner Tag über Straße Kaffee läuft natürlich Zug spät wieder größer Äpfel",
    "es": "hola buenos días qué tal mañana niño corazón música está lloviendo aquí siempre también café",
    "ko": "오늘 날씨 좋다 고양이 사진 커피 한잔 아침 산책 책 읽기",
}
_WORDS = {language: text.split() for language, text in _TEXTS.items()}
_LANGUAGES = ("en", "en", "en", "en", "ja", "ja", "pt", "de", "es", "ko")
_EMOJI = ("😀", "🔥", "❤️", "🇧🇷", "👩‍🚀", "✨", "🐈", "🙃", "👍🏽", "🌧")
_TAGS = ("art", "catsofbluesky", "photography", "mtbos", "nowplaying", "写真")


class Reply(NamedTuple):
    """Where a reply hangs."""

    root: Ref
    parent: Ref


class Mention(NamedTuple):
    did: str
    handle: str


def words(rng: Random, most: int = 40) -> tuple[str, str]:
    """A text of 1 to ``most`` words, short ones commoner, and its language."""
    language = rng.choice(_LANGUAGES)
    vocabulary = _WORDS[language]
    count = 1 + int(most * rng.random() ** 2)
    chosen = [vocabulary[int(len(vocabulary) * rng.random())] for _ in range(count)]
    if rng.random() < 0.25:
        chosen.append(rng.choice(_EMOJI))
    return ("" if language == "ja" else " ").join(chosen), language


def strong(ref: Ref) -> Record:
    return {"cid": cid_text(ref.cid), "uri": ref.uri}


def subject(collection: str, ref: Ref, now: str, via: Ref | None = None) -> Record:
    """A like or a repost."""
    record: Record = {"$type": collection, "subject": strong(ref), "createdAt": now}
    if via is not None:
        record["via"] = strong(via)
    return record


def towards(collection: str, did: str, now: str) -> Record:
    """A follow or a block."""
    return {"$type": collection, "subject": did, "createdAt": now}


def post(rng: Random, now: str, *, reply: Reply | None, quote: Ref | None, mention: Mention | None) -> Record:
    text, language = words(rng)
    record: Record = {"$type": POST, "text": text, "createdAt": now}
    if reply is not None:
        record["reply"] = {"root": strong(reply.root), "parent": strong(reply.parent)}
    if rng.random() < 0.9:
        record["langs"] = [language, "en"] if rng.random() < 0.02 else [language]
    embed = _embed(rng, quote)
    if embed is not None:
        record["embed"] = embed
    if rng.random() < 0.01:
        record["labels"] = {
            "$type": "com.atproto.label.defs#selfLabels",
            "values": [{"val": "graphic-media"}],
        }
    if rng.random() < 0.02:
        record["tags"] = [rng.choice(_TAGS)]
    _decorate(rng, record, mention)
    return record


def _decorate(rng: Random, record: Record, mention: Mention | None) -> None:
    """Append a mention, a link and a hashtag to the text, each with its facet (UTF-8 byte offsets)."""
    features: list[tuple[str, Record]] = []
    if mention is not None:
        features.append(
            (f"@{mention.handle}", {"$type": "app.bsky.richtext.facet#mention", "did": mention.did})
        )
    if rng.random() < 0.06:
        shown = f"example.com/{rng.randrange(10**6)}"
        features.append((shown, {"$type": "app.bsky.richtext.facet#link", "uri": f"https://{shown}"}))
    if rng.random() < 0.08:
        tag = rng.choice(_TAGS)
        features.append((f"#{tag}", {"$type": "app.bsky.richtext.facet#tag", "tag": tag}))
    if not features:
        return
    text = record["text"]
    facets = []
    for shown, feature in features:
        text += " "
        start = len(text.encode())
        text += shown
        facets.append({"index": {"byteStart": start, "byteEnd": len(text.encode())}, "features": [feature]})
    record["text"] = text
    record["facets"] = facets


def _embed(rng: Random, quote: Ref | None) -> Record | None:
    if quote is not None:
        record = {"$type": "app.bsky.embed.record", "record": strong(quote)}
        if rng.random() < 0.15:
            return {"$type": "app.bsky.embed.recordWithMedia", "record": record, "media": _images(rng)}
        return record
    kind = rng.random()
    if kind < 0.18:
        return _images(rng)
    if kind < 0.24:
        return _external(rng)
    if kind < 0.26:
        return {"$type": "app.bsky.embed.video", "video": blob(rng, "video/mp4"), "alt": ""}
    return None


def _images(rng: Random) -> Record:
    images = [
        {
            "alt": words(rng, 12)[0] if rng.random() < 0.4 else "",
            "image": blob(rng, "image/jpeg"),
            "aspectRatio": {"width": 1000 + rng.randrange(1000), "height": 500 + rng.randrange(1000)},
        }
        for _ in range(1 + int(4 * rng.random() ** 3))
    ]
    return {"$type": "app.bsky.embed.images", "images": images}


def _external(rng: Random) -> Record:
    page: Record = {
        "uri": f"https://news.example.org/{rng.randrange(10**9)}",
        "title": words(rng, 10)[0],
        "description": words(rng, 25)[0],
    }
    if rng.random() < 0.8:
        page["thumb"] = blob(rng, "image/jpeg")
    return {"$type": "app.bsky.embed.external", "external": page}


def blob(rng: Random, mime: str) -> Record:
    """A reference to a blob that nobody has: raw CID of random bytes."""
    cid = b"\x01\x55\x12\x20" + sha256(rng.randbytes(16)).digest()
    return {"$type": "blob", "ref": cid, "mimeType": mime, "size": rng.randrange(1_000, 976_000)}


def profile(rng: Random, now: str, pinned: Ref | None) -> Record:
    record: Record = {"$type": PROFILE, "createdAt": now, "displayName": words(rng, 3)[0]}
    if rng.random() < 0.8:
        record["description"] = words(rng, 30)[0]
    if rng.random() < 0.7:
        record["avatar"] = blob(rng, "image/jpeg")
    if rng.random() < 0.4:
        record["banner"] = blob(rng, "image/jpeg")
    if rng.random() < 0.05:
        record["labels"] = {
            "$type": "com.atproto.label.defs#selfLabels",
            "values": [{"val": "!no-unauthenticated"}],
        }
    if pinned is not None:
        record["pinnedPost"] = strong(pinned)
    return record


def unknown(rng: Random, collection: str, now: str) -> Record:
    """A record of a lexicon nobody here has heard of: nested, with bytes and numbers."""
    return {
        "$type": collection,
        "title": words(rng, 8)[0],
        "position": {"lat": str(rng.uniform(-90, 90)), "zoom": rng.randrange(20), "tags": ["a", None, True]},
        "payload": rng.randbytes(rng.randrange(40)),
        "createdAt": now,
    }
