/** Digests of what updates replace, whose part comes late or not at all. */

import { afterEach, expect, test, vi } from "vitest";
import { Browser, pass, record, turns, until, useFakeClock } from "./harness";
import { digestReplaced } from "../src/replaced";

const digests = vi.hoisted(() => ({ wait: null as Promise<void> | null, failures: 0, loads: 0 }));
vi.mock("../src/loading", async (original) => {
  const all = (await original()) as typeof import("../src/loading");
  const loadDigests = async (): Promise<unknown> => {
    digests.loads += 1;
    await digests.wait;
    digests.failures -= 1;
    if (digests.failures >= 0) throw new TypeError("Failed to fetch dynamically imported module");
    return all.loadDigests();
  };
  return { ...all, loadDigests };
});

useFakeClock();
afterEach(() => Object.assign(digests, { wait: null, failures: 0, loads: 0 }));

/** Let the server refuse the next update for its base, and return the update as it was sent again. */
async function sendOnNewBase(browser: Browser, write: () => void): Promise<Record<string, unknown> | undefined> {
  browser.server.refuse({ code: 243, name: "too_old", temporary: true });
  write();
  await turns();
  browser.server.write([["set", "/other", 1]]);
  await pass(1);
  return browser.server.received.filter(({ type }) => type === "update").at(-1);
}

test("that come late are those of the value that the update was made on, also over a reload", async () => {
  const browser = new Browser();
  const tab = browser.tab();
  let arrive = (): void => undefined;
  digests.wait = new Promise((resolve) => (arrive = resolve));
  const client = await tab.openConnected();
  await client.state.set("/a", 1);
  browser.server.drop();
  void client.state.set("/a", 2);
  void client.state.set("/a", 3);
  arrive();
  await turns();
  await tab.close(client);
  const again = await sendOnNewBase(browser, () => void tab.openConnected());
  await until(() => browser.server.session.document("main").value.a === 3);
  const sent = browser.server.received.filter(({ type, replaced }) => type === "update" && replaced !== undefined);
  expect(sent.map(({ replaced }) => replaced).slice(-2)).toEqual([
    digestReplaced({ a: 1 }, [["set", "/a", 2]]),
    digestReplaced({ a: 2 }, [["set", "/a", 3]]),
  ]);
  expect(again).toMatchObject({ ops: [["set", "/a", 3]] });
});

test("no write waits for, and without them one on a lost base is for the strategy to decide", async () => {
  digests.failures = Infinity;
  const browser = new Browser();
  const client = await browser.tab().openConnected();
  const errors = record(client, "error");
  await client.state.set("/a", 1);
  const again = await sendOnNewBase(browser, () => void client.state.set("/a", 2));
  expect(again).toMatchObject({ base: 2, replaced: {}, ops: [["set", "/a", 2]] });
  expect(browser.server.session.document("main").value).toEqual({ a: 2, other: 1 });
  const loads = digests.loads;
  await expect(client.state.checksum()).rejects.toThrow();
  digests.failures = 0;
  const later = await sendOnNewBase(browser, () => void client.state.set("/a", 4));
  expect(later?.replaced).toEqual(digestReplaced({ a: 2 }, [["set", "/a", 4]]));
  expect(digests.loads).toBeGreaterThan(loads);
  expect(errors.filter(([{ name }]) => name !== "too_old")).toHaveLength(1);
});
