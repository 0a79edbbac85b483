"""Settings of the demo on several processes: one database, and what carries news and tasks between them."""

from __future__ import annotations

import os
from typing import Any

from project.demo.settings import *  # noqa: F403 - settings are made to be taken over whole

SESSION_MGMT = {
    **SESSION_MGMT,  # noqa: F405
    # A restart of a server sends its clients away over so many seconds.
    "drain_spread": 1.0,
    **({} if REDIS_URL else {"doorbell_database": "default"}),  # noqa: F405
}

if not REDIS_URL:  # noqa: F405
    # PostgreSQL carries the news between the servers; tasks go through files, which all workers of a machine share.
    _FOLDER = os.environ["DEMO_TASKS"]
    CELERY_BROKER_URL = "filesystem://"
    _OPTIONS: Any = {"data_folder_in": _FOLDER, "data_folder_out": _FOLDER, "control_folder": f"{_FOLDER}/control"}
    CELERY_BROKER_TRANSPORT_OPTIONS = _OPTIONS
