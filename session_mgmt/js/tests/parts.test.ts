/** Parts that the client loads later, and cannot. */

import { expect, test, vi } from "vitest";
import { Browser, pass, passUntil, record, until, turns, useFakeClock } from "./harness";

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

vi.mock("../src/batch", () => ({
  get Batch(): never {
    throw new TypeError("Failed to fetch dynamically imported module");
  },
}));
vi.mock("../src/http/index", () => ({
  get makeHttp(): never {
    throw new TypeError("Failed to fetch dynamically imported module");
  },
}));
const requests = vi.hoisted(() => ({ failures: 1 }));
vi.mock("../src/requests/index", (original) => {
  requests.failures -= 1;
  if (requests.failures < 0) return original();
  throw new TypeError("Failed to fetch dynamically imported module");
});

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

test("without the part that gathers updates they go at once, and the client says so", async () => {
  const browser = new Browser();
  const errors: string[] = [];
  const onError = ({ name }: Error): void => void errors.push(name);
  const client = await browser.tab().open({ sync: { mode: "delayed", delay: 60_000 }, onError });
  await until(() => client.status === "connected");
  void client.state.set("/x", 1);
  await until(() => browser.server.session.document("main").head === 1);
  expect(errors).toEqual(["sync_unavailable"]);
});

test("without the part that speaks HTTP a network without sockets is tried again", async () => {
  const browser = new Browser();
  browser.server.network.sockets = "refused";
  const client = await browser.tab().open({ transports: ["websocket", "longpoll"] });
  await pass(3);
  expect(client.status).toBe("connecting");
  browser.server.network.sockets = "open";
  await passUntil(() => client.status === "connected");
});

test("without the part that makes requests one is refused for now, and the next loads it again", async () => {
  const client = await new Browser().tab().openConnected();
  await expect(client.state.history()).rejects.toMatchObject({ name: "part_unavailable", temporary: true });
  await client.state.set("/x", 1);
  expect((await client.state.info()).data).toEqual({ x: 1 });
});
