from __future__ import annotations

import os

import pytest


@pytest.fixture
def long() -> bool:
    """Whether the whole campaign is wanted (``make crash``) or the short slice of it."""
    return os.environ.get("CAMPAIGN") == "long"
