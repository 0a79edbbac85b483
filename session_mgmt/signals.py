"""Django signals for projects, sent after commit and at most once. For "at least once" use ``@on(…, durable=True)``.

``session_event``: one of the events of ``docs/reference/events.md`` was committed. Arguments: ``session_id`` (UUID or
``None`` for ``auth_failed`` without a session), ``type`` (str), ``data`` (dict), ``seq`` (int or ``None``).

``state_changed``: a document has a new version. Arguments: ``session_id``, ``document`` (name), ``version``,
``paths`` (tuple), ``client_id`` (str or ``None``).

``new_device``: a user has a session from a browser and an operating system that none of the user's other sessions has.
Arguments: ``session_id``, ``user_id``, ``browser`` and ``system`` (str, empty if unknown), ``ip`` (as it is stored),
``is_first`` (the user had no session before).

``heartbeat_missed``: a connection has missed a beat, or another one in a row. Arguments: ``session_id``,
``client_id``, ``missed`` (number in a row), ``limit`` (the number that closes the connection).
"""

from django.dispatch import Signal

session_event = Signal()
state_changed = Signal()
new_device = Signal()
heartbeat_missed = Signal()
