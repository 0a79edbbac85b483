/** Pages whose client is older than what the server serves. */

import { afterEach, expect, test, vi } from "vitest";
import { Browser, record, refusal, turns, useFakeClock } from "./harness";
import { VERSION } from "../src/frames";
import type { UpdateReport } from "../src/index";

const FILE = "https://shop.test/static/session-client.requests-0.1.0.js";

vi.mock("../src/loading", async (original) => {
  const all = (await original()) as typeof import("../src/loading");
  const failed = (): Promise<never> => Promise.reject(new TypeError(`Failed to fetch dynamically imported module: ${FILE}`));
  return { ...all, loadRequests: () => all.awaitPart(failed()) };
});

useFakeClock();
afterEach(() => void vi.unstubAllGlobals());

test("a higher version on the server is told once in a tab, and the next one again", async () => {
  const tab = new Browser().tab();
  const told: UpdateReport[][] = [];
  for (const sdk of ["0.0.9", VERSION, "0.10.0", "0.10.0", "0.11.0"]) {
    tab.browser.server.settings = { sdk };
    const client = await tab.openConnected();
    const seen = record(client, "update_available");
    await client.connection.reconnect();
    await turns();
    told.push(seen.flat());
    await tab.close(client);
  }
  const report = { current: VERSION, reason: "server_newer" };
  expect(told).toEqual([[], [], [{ ...report, wanted: "0.10.0" }], [], [{ ...report, wanted: "0.11.0" }]]);
});

test("parts that the server has no more are told, and those that the network keeps away are not", async () => {
  const [tab, answers] = [new Browser().tab(), [503, 0, 404]];
  const asked: unknown[] = [];
  vi.stubGlobal("fetch", async (...call: unknown[]) => {
    asked.push(call);
    const status = answers.shift();
    if (!status) throw new TypeError("Failed to fetch");
    return { status };
  });
  const client = await tab.openConnected();
  const told = record(client, "update_available");
  const counts: number[] = [];
  for (let turn = 0; turn < 4; turn += 1) {
    expect(await refusal(client.documents())).toBe("part_unavailable");
    await turns();
    counts.push(told.length);
  }
  expect(counts).toEqual([0, 0, 1, 1]);
  const call = [FILE, { method: "HEAD", cache: "no-store" }];
  expect(asked).toEqual([call, call, call]);
  const report = { current: VERSION, wanted: null, reason: "parts_gone" };
  expect(told).toEqual([[report]]);
  // All clients of the page have the same files.
  const other = await new Browser().tab().openConnected();
  const toldLater = record(other, "update_available");
  await turns();
  expect(toldLater).toEqual([[report]]);
});
