"""Pages that write numbers, one after the other, and hear those of all pages of their session."""

from __future__ import annotations

from tests.browser.bare import Tab
from tests.browser.waiting import BUSY_CLOCK
from tests.browser.watching import Demo

LISTEN_AND_WRITE = """async (options) => {
  window.seen = [];
  window.shown = [];
  addEventListener("pageshow", ({ persisted }) => shown.push(persisted));
  const { SessionClient } = await import("/static/session_mgmt/session-client.js");
  window.session = await SessionClient.start({ url: "/api/", clock: BUSY_CLOCK, ...options });
  await session.connection.connect();
  window.topic = `demo:numbers:${session.id}`;
  await session.topics.subscribe(topic, (n) => seen.push(n)).subscribed;
  window.write = (first) => Promise.all(Array.from({ length: 10 }, (_, n) => Promise.all([
    session.topics.publish(topic, first + n), session.state.inc("/n"),
  ])));
}""".replace("BUSY_CLOCK", BUSY_CLOCK)
# Transports of the connections that are open, once it is one.
CONNECTION = """async () => {
  const headers = session.auth.headers();
  for (;;) {
    const answer = await fetch(`/api/sessions/${session.id}/connections/`, { headers });
    const open = (await answer.json()).results.filter(({ state }) => state === "open");
    if (open.length === 1) return open.map(({ transport }) => transport);
    await new Promise((resolve) => { setTimeout(resolve, 20); });
  }
}"""


def has_all(tab: Tab, demo: Demo, count: int) -> None:
    """Everything has come to this page once and in order, from where it began to listen."""
    tab.until(f"session.status === 'connected' && session.pending === 0 && session.state.get('/n') === {count}")
    # A page that was begun anew in the place of another has nothing before the next publication.
    tab.until(f"seen.at(-1) === {count - 1} || (window.isAnew && seen.length === 0)")
    seen = tab.run("seen")
    assert seen == list(range(count))[count - len(seen) :]
    assert sorted(data for _, data in demo.publications(tab.run("topic"))) == list(range(count))
