"""System checks of documents: their policies and the keys that encrypt them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.core.checks import CheckMessage, Error, Tags, Warning
from django.db import connections

from session_mgmt import conf
from session_mgmt.actions import access, vaults
from session_mgmt.actions.keys import usage
from session_mgmt.actions.state import policies
from session_mgmt.checks.values import register_check
from session_mgmt.documents.errors import DocumentError
from session_mgmt.exceptions import StateUnreadable
from session_mgmt.models import StateDocument
from session_mgmt.registry import registry

_NAMES = "A name has 1 to 100 characters, no slash, and is not . or .."


@register_check()
def check_documents(**_: Any) -> list[CheckMessage]:
    """Check the policies of documents (E011): each must be valid and its function importable, and a document must be
    able to have the name.
    """
    now = conf.settings()
    named = {
        "SESSION_MGMT documents": now.documents,
        "SESSION_MGMT encrypt_state": () if isinstance(now.encrypt_state, bool) else now.encrypt_state,
        "@on_claim": registry.claim_handlers,
    }
    found: list[CheckMessage] = [
        Error(f"{role} has {name!r}, which is not a valid document name.", hint=_NAMES, id="session_mgmt.E011")
        for role, names in named.items()
        for name in names
        if not access.is_document(name)
    ]
    for name, given in now.documents.items():
        try:
            policies.parse_policy(given)
        except (ValueError, AttributeError, ImportError, DocumentError) as error:
            hint = "The options are strategy, arrays, on_conflict and claim. claim is keep or drop."
            message = f"SESSION_MGMT documents[{name!r}] cannot be used: {error}"
            found.append(Error(message, hint=hint, id="session_mgmt.E011"))
    return found


@register_check()
def check_state_keys(**_: Any) -> list[CheckMessage]:
    """Check the encryption. E008: unusable keys. E009: no key. E010: missing package. E012: required but off."""
    now = conf.settings()
    if now.require_encryption and not now.encrypt_state:
        hint = "Set encrypt_state as well."
        return [Error("require_encryption is on, but encrypt_state is off.", hint=hint, id="session_mgmt.E012")]
    if not now.state_keys and not now.encrypt_state:
        return []
    if not now.state_keys:
        hint = "Set state_keys. Without a key these documents cannot be written."
        return [Error("encrypt_state is on, but there is no key.", hint=hint, id="session_mgmt.E009")]
    try:
        vaults.load_keyring()
    except ValueError as error:
        hint = "Write pairs of a unique key id, up to 40 characters long, and 32 bytes in base64."
        return [Error(f"state_keys cannot be used: {error}", hint=hint, id="session_mgmt.E008")]
    except StateUnreadable as error:
        return [Error(str(error), hint='pip install "session_mgmt[crypto]"', id="session_mgmt.E010")]
    return []


@register_check(Tags.database)
def check_keys_in_use(databases: Sequence[str] | None = None, **_: Any) -> list[CheckMessage]:
    """Check that no document needs a key that is missing from the settings (W003).

    It runs with ``check --database`` and ``migrate``.
    """
    using = conf.settings().database
    # Django passes databases only where it may ask them: a check at import must need no server.
    if using not in (databases or ()) or check_state_keys():
        return []
    if StateDocument._meta.db_table not in connections[using].introspection.table_names():
        return []
    missing = usage.list_missing_keys(usage.list_document_keys(using))
    if not missing:
        return []
    hint = "Add them after the first one, until rotate_state_keys has converted all their rows."
    message = f"Documents use keys that are not in state_keys: {', '.join(missing)}."
    return [Warning(message, hint=hint, id="session_mgmt.W003")]
