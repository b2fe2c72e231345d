"""What the crowd does next: a seeded, endless sequence of acts in a network-like mix.

The crowd only decides. It never looks at a tree or a signature, so that the same seed decides the same
whoever performs it, and as many processes as you like can each perform a part.
"""

from __future__ import annotations

from bisect import bisect
from collections import deque
from dataclasses import replace
from itertools import accumulate
from random import Random
from typing import TYPE_CHECKING, Final, NamedTuple

import libipld

from firehose_indexer.repo.data import cid_of
from firehose_indexer.sim import clock, odd, writing
from firehose_indexer.sim.acts import Act, Change, Join, Leave, Ref, Rename, Resync, Return, Write
from firehose_indexer.sim.people import People
from firehose_indexer.sim.writing import BLOCK, FOLLOW, LIKE, POST, PROFILE, REPOST

if TYPE_CHECKING:
    from collections.abc import Callable

    from firehose_indexer.sim.clock import Clock
    from firehose_indexer.sim.writing import Record

FIRST_JOINERS: Final = 10
JOIN_SHARE: Final = 0.05
"""Share of the acts that are joins, while accounts are still missing."""

REPEATED: Final = 0.02
"""Share of the likes, reposts, follows and blocks that repeat an older one's subject."""

ODD_SHARE: Final = 0.02
REMEMBERED: Final = 50_000
"""Records of each kind that the crowd keeps in mind to like, answer, edit or delete."""

DELETED = ((0.50, LIKE), (0.22, FOLLOW), (0.15, REPOST), (0.10, POST), (0.03, BLOCK))
STATUSES = ((0.4, "deactivated"), (0.2, "takendown"), (0.1, "suspended"), (0.2, "deleted"), (0.1, "frozen"))
"""What an account becomes that leaves. ``frozen`` is a status that nobody has defined."""

AWAY_ACTS: Final = 200
"""How many acts later somebody who left comes back, unless deleted."""


class Made(NamedTuple):
    """A record that somebody made. ``about`` is what it points at: a thread's root, or a subject."""

    who: int
    path: str
    ref: Ref
    about: Ref | str


class Crowd:
    """Decides one act a call. ``settled``: everybody joined before the stream began."""

    def __init__(self, seed: int, accounts: int, now: Clock, *, settled: bool, with_odd: bool) -> None:
        self.people = People(seed)
        self._rng = Random(f"crowd {seed}")
        self._now = now
        self._made: dict[str, list[Made]] = {kind: [] for _, kind in DELETED}
        self._talk: list[Made] = []
        self._profiles: set[int] = set()
        self._next: deque[Callable[[], Act]] = deque()
        self._returns: deque[tuple[int, int]] = deque()
        self._acts = 0
        self._missing = accounts
        while settled and self._missing:
            self.people.join()
            self._missing -= 1
        mix: list[tuple[float, Callable[[], Act]]] = [
            (0.55, self._like),
            (0.15, self._follow),
            (0.12, self._post),
            (0.10, self._repost),
            (0.05, self._delete),
            (0.008, self._profile),
            (0.006, self._block),
            (0.006, self._unknown),
            (0.004, self._edit),
            (0.002, self._rename),
            (0.001, self._resync),
            (0.002, self._leave),
            (0.001, self._join),
            (ODD_SHARE if with_odd else 0.0, self._odd),
        ]
        self._choices = [choice for _, choice in mix]
        self._shares = list(accumulate(share for share, _ in mix))

    def act(self) -> Act:
        self._acts += 1
        if self._next:
            return self._next.popleft()()
        if self._returns and self._returns[0][0] <= self._acts:
            return self._return(self._returns.popleft()[1])
        if self._missing and (len(self.people) < FIRST_JOINERS or self._rng.random() < JOIN_SHARE):
            self._missing -= 1
            return self._join()
        return self._choices[bisect(self._shares, self._rng.random() * self._shares[-1])]()

    # accounts

    def _join(self) -> Act:
        who = self.people.join()
        self._next.append(lambda: self._profile(who))
        return Join(self._now(), who)

    def _rename(self) -> Act:
        who = self.people.actor(self._rng)
        return Rename(self._now(), who, self.people.rename(who))

    def _resync(self) -> Act:
        return Resync(self._now(), self.people.actor(self._rng))

    def _leave(self) -> Act:
        if len(self.people) - len(self.people.away) < FIRST_JOINERS:
            return self._join()
        who = self.people.actor(self._rng)
        status = _weighted(self._rng, STATUSES)
        self.people.away[who] = status
        if status != "deleted":
            self._returns.append((self._acts + AWAY_ACTS, who))
        return Leave(self._now(), who, status)

    def _return(self, who: int) -> Act:
        del self.people.away[who]
        return Return(self._now(), who)

    # records

    def _like(self) -> Act:
        return self._engage(LIKE)

    def _repost(self) -> Act:
        return self._engage(REPOST)

    def _engage(self, kind: str) -> Act:
        """Like or repost a post: mostly a new or a talked-about one; rarely the same one again."""
        rng = self._rng
        if not self._made[POST]:
            return self._post()
        if rng.random() < REPEATED and (repeat := self._repeat(kind)) is not None:
            return repeat
        post = self._interesting()
        via = self._recall(REPOST) if rng.random() < 0.03 else None
        record = writing.subject(kind, post.ref, self._text(), via and via.ref)
        return self._one(self.people.actor(rng), kind, record, post.ref)

    def _follow(self) -> Act:
        return self._towards(FOLLOW)

    def _block(self) -> Act:
        return self._towards(BLOCK)

    def _towards(self, kind: str) -> Act:
        rng = self._rng
        if rng.random() < REPEATED and (repeat := self._repeat(kind)) is not None:
            return repeat
        who, whom = self.people.actor(rng), self.people.famous(rng)
        if who == whom:
            whom = (who + 1) % len(self.people)
        did = self.people.dids[whom]
        return self._one(who, kind, writing.towards(kind, did, self._text()), did)

    def _repeat(self, kind: str) -> Act | None:
        """The same subject under a new key: a duplicate, or in place of the old record in one commit."""
        instead = self._rng.random() < 0.5
        old = self._forget(kind) if instead else self._recall(kind)
        if old is None:
            return None
        about, now = old.about, self._text()
        record = (
            writing.subject(kind, about, now) if isinstance(about, Ref) else writing.towards(kind, about, now)
        )
        new = self._one(old.who, kind, record, about)
        if not instead:
            return new
        return replace(new, writes=(Write("delete", old.path, None), *new.writes))

    def _post(self) -> Act:
        """One post, or a small thread in one commit."""
        rng = self._rng
        time, who = self._now(), self.people.actor(rng)
        now, posts = clock.text(time), self._made[POST]
        length = rng.randint(2, 4) if rng.random() < 0.03 else 1
        above = self._interesting() if posts and rng.random() < 0.45 else None
        writes = []
        for place in range(length):
            writes.append(
                self._make(time, place, who, POST, self._content(above, now), above and above.about)
            )
            above = posts[-1]
        return Change(time, who, tuple(writes))

    def _content(self, above: Made | None, now: str) -> Record:
        rng = self._rng
        reply = None
        if above is not None and isinstance(above.about, Ref):
            reply = writing.Reply(above.about, above.ref)
        quote = self._interesting().ref if self._made[POST] and rng.random() < 0.08 else None
        mention = None
        if rng.random() < 0.06:
            whom = self.people.famous(rng)
            mention = writing.Mention(self.people.dids[whom], self.people.handles[whom])
        return writing.post(rng, now, reply=reply, quote=quote, mention=mention)

    def _edit(self) -> Act:
        """A post gets new content and starts a thread of its own."""
        post = self._forget(POST)
        if post is None:
            return self._post()
        block = libipld.encode_dag_cbor(self._content(None, self._text()))
        edited = Ref(post.ref.uri, cid_of(block))
        self._remember(POST, post._replace(ref=edited, about=edited))
        return Change(self._now(), post.who, (Write("update", post.path, block),))

    def _profile(self, who: int | None = None) -> Act:
        rng = self._rng
        pinned = self._recall(POST) if who is None and rng.random() < 0.2 else None
        if pinned is not None:
            who = pinned.who
        elif who is None:
            who = self.people.actor(rng)
        action = "update" if who in self._profiles else "create"
        self._profiles.add(who)
        block = libipld.encode_dag_cbor(writing.profile(rng, self._text(), pinned and pinned.ref))
        return Change(self._now(), who, (Write(action, f"{PROFILE}/self", block),))

    def _unknown(self) -> Act:
        kind = self._rng.choice(writing.UNKNOWN)
        record = writing.unknown(self._rng, kind, self._text())
        return self._one(self.people.actor(self._rng), kind, record, "")

    def _delete(self) -> Act:
        made = self._forget(_weighted(self._rng, DELETED))
        if made is None:
            return self._like()
        return Change(self._now(), made.who, (Write("delete", made.path, None),))

    def _odd(self) -> Act:
        """Bytes that a sound repository may hold and that nobody hopes for (``odd``)."""
        rng = self._rng
        if rng.random() < 0.05 and (rewritten := self._rewrite()) is not None:
            return rewritten
        time, who = self._now(), self.people.actor(rng)
        key = clock.tid(time, who & 1023)
        return Change(time, who, odd.writes(rng, key, self.people.dids[who], self._text()))

    def _rewrite(self) -> Act | None:
        """One commit deletes a post and creates another under the same key."""
        post = self._forget(POST)
        if post is None:
            return None
        block = libipld.encode_dag_cbor(self._content(None, self._text()))
        writes = (Write("delete", post.path, None), Write("create", post.path, block))
        return Change(self._now(), post.who, writes)

    # memory

    def _text(self) -> str:
        return clock.text(self._now())

    def _one(self, who: int, kind: str, record: Record, about: Ref | str) -> Change:
        time = self._now()
        return Change(time, who, (self._make(time, 0, who, kind, record, about),))

    def _make(
        self, time: int, place: int, who: int, kind: str, record: Record, about: Ref | str | None
    ) -> Write:
        """Create a record, ``place`` of its commit, and keep it in mind."""
        block = libipld.encode_dag_cbor(record)
        path = f"{kind}/{clock.tid(time + place, who & 1023)}"
        ref = Ref(f"at://{self.people.dids[who]}/{path}", cid_of(block))
        if kind in self._made:
            self._remember(kind, Made(who, path, ref, ref if about is None else about))
        return Write("create", path, block)

    def _remember(self, kind: str, made: Made) -> None:
        known = self._made[kind]
        known.append(made)
        if len(known) > REMEMBERED:
            del known[: REMEMBERED // 2]

    def _recall(self, kind: str) -> Made | None:
        """Any record of an active account that is still in mind."""
        index = self._place(kind)
        return None if index is None else self._made[kind][index]

    def _forget(self, kind: str) -> Made | None:
        """Take one of them out of mind: nobody edits or deletes it afterwards."""
        index = self._place(kind)
        return None if index is None else self._made[kind].pop(index)

    def _place(self, kind: str) -> int | None:
        known = self._made[kind]
        index = int(len(known) * self._rng.random())
        return index if known and known[index].who not in self.people.away else None

    def _interesting(self) -> Made:
        """A post worth an answer: what is talked about is talked about more, the rest by recency."""
        rng, posts = self._rng, self._made[POST]
        if self._talk and rng.random() < 0.5:
            post = self._talk[int(len(self._talk) * rng.random())]
        else:
            post = posts[-1 - int(len(posts) * rng.random() ** 4)]
        self._talk.append(post)
        if len(self._talk) > 2_000:
            del self._talk[:1_000]
        return post


def _weighted(rng: Random, table: tuple[tuple[float, str], ...]) -> str:
    return rng.choices([name for _, name in table], [share for share, _ in table])[0]
