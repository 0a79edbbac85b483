from tests.walks.conftest import created, declared, peers

__all__ = ["created", "declared", "peers"]
