from __future__ import annotations

from tests.api.conftest import alice, bob, inline_unless_committing, mine, nobody, page, theirs
from tests.walks.conftest import created, declared, peers, way

__all__ = ["alice", "bob", "created", "declared", "inline_unless_committing", "mine", "nobody", "page", "peers"]
__all__ += ["theirs", "way"]
