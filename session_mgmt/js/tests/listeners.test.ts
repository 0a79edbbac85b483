/** Listeners on signals that live longer than what they were added for. */

import { expect, test } from "vitest";
import type { TopicsPort } from "../src/publications";
import { Questions } from "../src/requests/questions";
import type { SessionClient } from "../src/index";
import { Browser, refusal, settled, useFakeClock } from "./harness";

useFakeClock();

/** Return a signal that counts its listeners. */
function makeSignal() {
  const { signal } = new AbortController();
  const listeners = new Set<unknown>();
  const { addEventListener, removeEventListener } = signal;
  signal.addEventListener = (...given: Parameters<typeof addEventListener>) => {
    listeners.add(given[1]);
    addEventListener.apply(signal, given);
  };
  signal.removeEventListener = (...given: Parameters<typeof removeEventListener>) => {
    listeners.delete(given[1]);
    removeEventListener.apply(signal, given);
  };
  return { signal, listeners };
}

type Write = (client: SessionClient, signal: AbortSignal) => Promise<unknown>;

const WRITES: [name: string, write: Write][] = [
  ["update", ({ state }, signal) => state.set("/a", 1, { signal })],
  ["message", (client, signal) => client.send("hello", { signal })],
  ["publication", ({ topics }, signal) => topics.publish("t", 1, { signal })],
];

const ENDS: [how: string, outcome: string, end: (client: SessionClient, browser: Browser) => void][] = [
  ["takes effect", "resolved", () => undefined],
  ["is refused", "conflict", (_, { server }) => server.refuse({ code: 240, name: "conflict", temporary: false })],
  ["outlives its page", "closed", (client) => client.close()],
];

test.each(WRITES.flatMap(([name, write]) => ENDS.map((end) => [name, ...end, write] as const)))(
  "a signal holds nothing of the %s that %s",
  async (_name, _how, outcome, end, write) => {
    const browser = new Browser();
    const client = await browser.tab().openConnected();
    const { signal, listeners } = makeSignal();
    const written = refusal(write(client, signal));
    expect(listeners.size).toBe(1);
    end(client, browser);
    expect([await settled(written), listeners.size]).toEqual([outcome, 0]);
  },
);

test("the signal of a client holds nothing of questions that were closed", () => {
  const { signal, listeners } = makeSignal();
  const port = { closed: signal, events: { on: () => () => undefined } } as unknown as TopicsPort;
  const questions = new Questions(port, "hall");
  expect(listeners.size).toBe(1);
  questions.close();
  expect(listeners.size).toBe(0);
});
