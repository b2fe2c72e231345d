"""Text that may carry credentials, made fit to be seen."""

from __future__ import annotations

import re

_IN_URL = re.compile(r"(?P<before>\w://[^:/@\s]*):[^\s\"']*@")
_IN_WORDS = re.compile(r"(?i)(?P<before>\b(?:ssl)?password\s*=\s*)(?:'(?:\\.|[^'\\])*'|[^\s&'\"]+)")
_BEARER = re.compile(r"(?i)(?P<before>\bbearer\s+)[^\s\"']+")


def mask(text: str) -> str:
    """``text`` with every password in a URL or DSN, and every bearer token, replaced by ``***``.

    Errs on the side of hiding: a password with an unescaped ``@`` or ``/`` is hidden whole.
    """
    for pattern in (_IN_URL, _IN_WORDS, _BEARER):
        replacement = r"\g<before>:***@" if pattern is _IN_URL else r"\g<before>***"
        text = pattern.sub(replacement, text)
    return text
