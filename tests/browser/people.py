"""People with Django's login, in the pages of a project that starts its client by itself."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

from django.contrib.auth.hashers import PBKDF2PasswordHasher
from playwright.sync_api import Page

from tests.browser.plain import DOCUMENT
from tests.browser.waiting import BUSY_CLOCK
from tests.browser.watching import Demo

PASSWORD = "a long password of theirs"
NAMES = ("ann", "bob")
# As a project's page: it starts by itself, and notes what it was shown before it was asked to do anything.
START = """async (options) => {
  const { SessionClient } = await import("/static/session_mgmt/session-client.js");
  window.events = [];
  window.session = await SessionClient.start({ url: "/api/", cache: "indexeddb", clock: BUSY_CLOCK, ...options });
  for (const name of ["unsent", "ended", "identity"]) session.on(name, (...told) => events.push([name, ...told]));
  window.first = session.state.get();
  await session.connection.connect();
  return [session.info.userId, window.first];
}""".replace("BUSY_CLOCK", BUSY_CLOCK)
# The forms of the admin, without its pages: to draw those takes longer than most tests.
SWITCH = """async (fields) => {
  const { csrf } = await (await fetch("/api/login/")).json();
  const body = new URLSearchParams({ ...fields, csrfmiddlewaretoken: csrf, next: "/api/login/" });
  return (await (await fetch("/admin/login/", { method: "POST", body })).json()).user_id;
}"""
LOG_OUT = """async () => {
  const { csrf } = await (await fetch("/api/login/")).json();
  const body = new URLSearchParams({ csrfmiddlewaretoken: csrf });
  await fetch("/admin/logout/", { method: "POST", body, redirect: "manual" });
}"""
# Every word that this browser keeps.
KEPT = """async () => {
  const words = [JSON.stringify({ ...localStorage }), JSON.stringify({ ...sessionStorage })];
  for (const { name } of await indexedDB.databases()) {
    const opening = indexedDB.open(name);
    await new Promise((resolve) => (opening.onsuccess = resolve));
    const db = opening.result;
    for (const store of db.objectStoreNames) {
      const all = db.transaction(store).objectStore(store).getAll();
      await new Promise((resolve) => (all.onsuccess = resolve));
      words.push(JSON.stringify(all.result));
    }
    db.close();
  }
  return words.join("");
}"""
PERSON = """INSERT INTO auth_user (username, password, is_superuser, is_staff, is_active, date_joined,
             first_name, last_name, email) VALUES (?, ?, 1, 1, 1, datetime('now'), '', '', '')"""


def register_people(database: Path) -> None:
    """Let everybody of NAMES log in to a server of this database, as staff."""
    password = PBKDF2PasswordHasher().encode(PASSWORD, "salt")
    with contextlib.closing(sqlite3.connect(database)) as connection, connection:
        connection.executemany(PERSON, [(name, password) for name in NAMES])


def log_in(page: Page, demo: Demo, name: str) -> str:
    """Log in on a page where nothing else happens, and return the user's key."""
    page.goto(demo.url + DOCUMENT)
    return switch_user(page, name)


def switch_user(page: Page, name: str) -> str:
    """Log in over somebody else, without a logout and with that one's cookie, and return the user's key."""
    found = page.evaluate(SWITCH, {"username": name, "password": PASSWORD})
    assert isinstance(found, str)
    return found


def log_out(page: Page, demo: Demo) -> None:
    page.goto(demo.url + DOCUMENT)
    page.evaluate(LOG_OUT)


def open_page(page: Page, demo: Demo, **options: str | None) -> list[object]:
    page.goto(demo.url + DOCUMENT)
    found: list[object] = page.evaluate(START, options)
    return found


def write(page: Page, text: str) -> None:
    page.evaluate("(text) => session.state.set('/note', text)", text)
