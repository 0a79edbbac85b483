/** Random networks, reloads and refusals: in the end every write happened once, every reader saw everything once. */

import fc from "fast-check";
import { expect, test } from "vitest";
import type { SessionClient, StartOptions } from "../src/index";
import { Browser, pass, type Tab, turns, until, useFakeClock } from "./harness";

useFakeClock();

interface Page {
  tab: Tab;
  client: SessionClient;
  published: number[];
  heard: number[];
}

class World {
  readonly browser = new Browser();
  readonly pages: Page[] = [];
  additions = 0;
  /** The sum of all that pages were shown from their local copies. */
  copies = 0;
  /** Versions that went back within a page. */
  readonly backwards: [from: number, to: number][] = [];
  readonly #options: StartOptions;
  #publications = 0;

  constructor(options: StartOptions) {
    this.#options = options;
  }

  async begin(): Promise<void> {
    for (let n = 0; n < 2; n += 1) {
      const tab = this.browser.tab();
      const page = { tab, client: await tab.openConnected(this.#options), published: [], heard: [] };
      this.#listen(page);
      this.pages.push(page);
    }
    await turns();
  }

  add(at: number): void {
    this.additions += 1;
    void this.pages[at]?.client.state.inc("/visits");
  }

  publish(at: number): void {
    const page = this.pages[at] as Page;
    this.#publications += 1;
    page.published.push(this.#publications);
    void page.client.topics.publish("t", this.#publications);
  }

  async reload(at: number): Promise<void> {
    const page = this.pages[at] as Page;
    const shown = page.client.state.get("/visits") ?? 0;
    await page.tab.close(page.client);
    page.client = await page.tab.open({ ...this.#options, autoConnect: false });
    if (this.#options.cache) {
      this.copies += page.client.state.fromCache ? 1 : 0;
      // What a page had shown, its own pending additions included, the next one shows before anything answers.
      expect(page.client.state.get("/visits") ?? 0).toBeGreaterThanOrEqual(shown);
      expect(page.client.state.get("/visits") ?? 0).toBeLessThanOrEqual(this.additions);
    }
    this.#listen(page);
    void page.client.connection.connect();
    await turns();
  }

  async heal(): Promise<void> {
    this.browser.server.swallowReceipts = false;
    this.browser.server.network.sockets = "open";
    this.browser.server.mend();
    for (let at = 0; at < 60 && !this.#quiet(); at += 1) await pass(7);
    await until(() => this.#quiet());
    await turns();
  }

  #quiet(): boolean {
    // A client does not know yet that its connection is dead when the server has none.
    const { connected } = this.browser.server;
    // Nor does one whose poll is held by nobody any more.
    const published = this.browser.server.topic("t").head;
    return (
      connected === 2 &&
      this.pages.every(({ client, heard }) => {
        const isBack = client.status === "connected" && client.pending === 0;
        return isBack && heard.length >= published && (client.state.get("/visits") ?? 0) === this.additions;
      })
    );
  }

  #listen(page: Page): void {
    let seen = page.client.state.version;
    page.client.state.on("/visits", (_, { version }) => {
      if (version < seen) this.backwards.push([seen, version]);
      seen = version;
    });
    page.client.topics.subscribe("t", (data) => void page.heard.push(data));
  }
}

type Step = (world: World) => unknown;

const place = fc.integer({ min: 0, max: 1 });
const step: fc.Arbitrary<[string, Step]> = fc.oneof(
  { weight: 5, arbitrary: place.map((at): [string, Step] => [`add ${at}`, (world) => world.add(at)]) },
  { weight: 5, arbitrary: place.map((at): [string, Step] => [`publish ${at}`, (world) => world.publish(at)]) },
  { weight: 2, arbitrary: place.map((at): [string, Step] => [`reload ${at}`, (world) => world.reload(at)]) },
  { weight: 2, arbitrary: fc.constant<[string, Step]>(["drop", ({ browser }) => browser.server.drop()]) },
  { weight: 1, arbitrary: fc.constant<[string, Step]>(["cut", ({ browser }) => browser.server.cut()]) },
  { weight: 1, arbitrary: fc.constant<[string, Step]>(["mend", ({ browser }) => browser.server.mend()]) },
  { weight: 1, arbitrary: fc.constant<[string, Step]>(["swallow", ({ browser }) => swallow(browser)]) },
  { weight: 1, arbitrary: fc.constant<[string, Step]>(["busy", ({ browser }) => busy(browser)]) },
  { weight: 1, arbitrary: fc.constant<[string, Step]>(["restart", ({ browser }) => browser.server.bye(4000, 1)]) },
  { weight: 2, arbitrary: fc.constant<[string, Step]>(["block", ({ browser }) => block(browser)]) },
  { weight: 2, arbitrary: fc.constant<[string, Step]>(["unblock", ({ browser }) => unblock(browser)]) },
  { weight: 2, arbitrary: fc.constant<[string, Step]>(["lose an answer", ({ browser }) => lose(browser)]) },
  { weight: 3, arbitrary: fc.constant<[string, Step]>(["turn", () => turns(2)]) },
  { weight: 2, arbitrary: fc.integer({ min: 1, max: 40 }).map((s): [string, Step] => [`wait ${s}`, () => pass(s)]) },
);

/** Let no socket through, and end those that are there. */
function block({ server }: Browser): void {
  server.network.sockets = "refused";
  for (const socket of server.sockets) socket.drop();
}

function unblock({ server }: Browser): void {
  server.network.sockets = "open";
}

function lose({ server }: Browser): void {
  server.http.lost.frames = 1;
}

function swallow(browser: Browser): void {
  browser.server.swallowReceipts = true;
}

function busy(browser: Browser): void {
  browser.server.refuse({ name: "busy", temporary: true });
}

const copies = { cache: "indexeddb", user: "7" } as const;
const kinds: [what: string, options: StartOptions, runs: number][] = [
  ["no copies", {}, 50],
  ["local copies", copies, 50],
  ["changes of the transport", { transports: ["websocket", "sse", "longpoll"] }, 25],
  ["no copies, over streams", { transports: ["sse"] }, 15],
  ["local copies, over long polls", { ...copies, transports: ["longpoll"] }, 25],
  ["local copies and delayed updates", { ...copies, sync: { mode: "delayed", delay: 50 } }, 20],
];

const title = "with %s every write happens once and every reader sees everything once";
test.each(kinds)(title, async (_, options, numRuns) => {
  let shown = 0;
  const run = fc.asyncProperty(fc.array(step, { maxLength: 30 }), async (steps) => {
    const world = new World(options);
    await world.begin();
    for (const [, act] of steps) await act(world);
    await world.heal();
    const { server } = world.browser;
    const stored = server.topic("t").entries.map((entry) => entry[2] as number);
    expect(server.session.document("main").value.visits ?? 0).toBe(world.additions);
    expect(new Set(stored).size).toBe(stored.length);
    expect(server.connected).toBe(2);
    expect(world.backwards).toEqual([]);
    for (const { client, published, heard } of world.pages) {
      expect(client.state.get("/visits") ?? 0).toBe(world.additions);
      expect(stored.filter((n) => published.includes(n))).toEqual(published);
      expect(heard).toEqual(stored);
      client.close();
    }
    shown += world.copies;
  });
  await fc.assert(run, { numRuns, seed: 20261123 });
  expect(shown > 0).toBe(options.cache !== undefined);
});
