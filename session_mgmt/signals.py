"""Django signals for projects, sent after commit and at most once. For "at least once" use ``@on(…, durable=True)``.

``session_event``: one of the events of ``docs/reference/events.md`` was committed. Arguments: ``session_id`` (UUID or
``None`` for ``auth_failed`` without a session), ``type`` (str), ``data`` (dict), ``seq`` (int or ``None``).

``state_changed``: a document has a new version. Arguments: ``session_id``, ``document`` (name), ``version``,
``paths`` (tuple), ``client_id`` (str or ``None``).
"""

from django.dispatch import Signal

session_event = Signal()
state_changed = Signal()
