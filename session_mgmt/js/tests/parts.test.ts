/** Parts that the client loads later, and cannot. */

import { expect, test, vi } from "vitest";
import { Browser, record, until, turns, useFakeClock } from "./harness";

vi.mock("../src/copies", () => ({
  get Copies(): never {
    throw new TypeError("Failed to fetch dynamically imported module");
  },
}));
vi.mock("../src/sending", () => ({
  get Sending(): never {
    throw new TypeError("Failed to fetch dynamically imported module");
  },
}));

useFakeClock();

test("without the part that keeps copies the client works, and says so", async () => {
  const errors: string[] = [];
  const client = await new Browser().tab().open({ cache: "indexeddb", onError: ({ name }) => errors.push(name) });
  await until(() => client.status === "connected");
  await client.state.set("/x", 1);
  expect([client.state.get("/x"), client.state.fromCache]).toEqual([1, false]);
  expect(errors).toEqual(["cache_unavailable"]);
});

test("without the part that sends them, the writes of a closed tab stay", async () => {
  const browser = new Browser();
  const tab = browser.tab();
  const closing = await tab.openConnected();
  browser.server.cut();
  void closing.state.inc("/visits");
  await turns();
  await tab.close(closing);
  browser.server.mend();
  const next = await browser.tab().openConnected();
  const adopted = record(next, "adopted");
  await until(() => next.pending === 1);
  await turns(50);
  expect([next.pending, adopted, browser.server.session.document("main").head]).toEqual([1, [], 0]);
});
