from __future__ import annotations

from tests.api.conftest import alice, bob, inline_unless_committing, mine, nobody, page, theirs

__all__ = ["alice", "bob", "inline_unless_committing", "mine", "nobody", "page", "theirs"]
