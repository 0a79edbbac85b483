from tests.admin.conftest import alice, operator, paper
from tests.walks.conftest import created, declared, peers, way

__all__ = ["alice", "created", "declared", "operator", "paper", "peers", "way"]
