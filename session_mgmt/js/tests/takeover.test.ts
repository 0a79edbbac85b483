/** Another attach took over (4507): this client's own that came late, or that of a copy of it elsewhere. */

import { describe, expect, test } from "vitest";
import { Browser, pass, passUntil, record, TRANSPORTS, turns, until, useFakeClock } from "./harness";
import type { SessionClient, StartOptions, TransportName } from "../src/index";
import type { MemoryStore } from "../src/testing";
import type { FakeSocket } from "../src/testing/socket";

useFakeClock();

/** Way to the server on which attaches are held up: the client hears nothing of them, and they arrive when it is time. */
class SlowWay {
  readonly browser = new Browser();
  holds = false;
  /** The next attach is refused. */
  refuses = false;
  /** Number of attaches that were held up so far. */
  held = 0;
  readonly #late: (() => void)[] = [];

  get options(): Pick<StartOptions, "fetch" | "WebSocket"> {
    const { server } = this.browser;
    const hold = (arrive: () => void): void => {
      this.held += 1;
      this.#late.push(arrive);
    };
    const isHeld = (): boolean => this.holds;
    const takeRefusal = (): boolean => {
      const { refuses } = this;
      this.refuses = false;
      return refuses;
    };
    const { WebSocket } = server;
    class SlowSocket extends (WebSocket as unknown as new (url: string, protocols: string[]) => WebSocket) {
      readonly #place: [string, string[]];

      constructor(url: string, protocols: string[]) {
        super(url, protocols);
        this.#place = [url, protocols];
      }

      override send(text: string): void {
        if (JSON.parse(text).type !== "connect") return super.send(text);
        if (takeRefusal()) return (this as unknown as FakeSocket).drop(4013);
        if (!isHeld()) return super.send(text);
        // In another process, which has noticed nothing of the end of this one.
        hold(() => {
          const socket = new WebSocket(...this.#place);
          socket.onopen = () => socket.send(text);
        });
      }
    }
    return {
      WebSocket: SlowSocket as never,
      fetch: async (url, init) => {
        if (!url.endsWith("/connections/")) return server.fetch(url, init);
        if (takeRefusal()) server.http.refusals.connections = [{ status: 503, name: "unavailable", close: 4013 }];
        if (!this.holds) return server.fetch(url, init);
        hold(() => void server.fetch(url, init));
        throw new TypeError("the call was lost");
      },
    };
  }

  /** Let what is held up arrive, and hold up nothing more. */
  arrive(): void {
    this.holds = false;
    for (const arrive of this.#late.splice(0)) arrive();
  }
}

function copyStore(from: MemoryStore, to: MemoryStore): void {
  for (let at = 0; at < from.length; at += 1) {
    const key = from.key(at) as string;
    to.setItem(key, from.getItem(key) as string);
  }
}

describe.each(TRANSPORTS)("over %s", (transport) => {
  const transports: TransportName[] = [transport];

  /** Lose the connection, and let the next attach be held up while the one behind it is answered. */
  async function overtakeItself(way: SlowWay, client: SessionClient): Promise<void> {
    way.holds = true;
    way.browser.server.bye(4000, 1);
    await passUntil(() => way.held > 0);
    way.holds = false;
    await passUntil(() => client.status === "connected");
    way.arrive();
  }

  test("an attach of one's own that comes late takes over, and the client attaches again", async () => {
    const way = new SlowWay();
    const client = await way.browser.tab().openConnected({ transports, ...way.options });
    const { clientId } = client;
    const unsent = record(client, "unsent");
    const statuses = record(client, "status");
    await overtakeItself(way, client);
    const { connections } = client.stats();
    const written = client.state.inc("/n");
    await passUntil(() => client.stats().connections > connections && client.status === "connected");
    await written;
    expect(client.clientId).toBe(clientId);
    expect([unsent, way.browser.server.session.document("main").value]).toEqual([[], { n: 1 }]);
    expect(statuses.some(([status]) => status === "failed")).toBe(false);
    // Now none is under way: who takes over is somebody else.
    await pass(11);
    way.browser.server.overtake();
    await passUntil(() => client.status === "failed");
  });

  test("an attach of the page before comes late too", async () => {
    const way = new SlowWay();
    const tab = way.browser.tab();
    const before = await tab.openConnected({ transports, ...way.options });
    way.holds = true;
    way.browser.server.bye(4000, 1);
    await passUntil(() => way.held > 0);
    void before.state.inc("/n");
    await tab.close(before);
    way.holds = false;
    const client = await tab.openConnected({ transports, ...way.options });
    way.arrive();
    await passUntil(() => client.stats().connections === 2 && client.status === "connected");
    await until(() => client.pending === 0);
    expect(way.browser.server.session.document("main").value).toEqual({ n: 1 });
  });

  test("an attach that was refused never comes late: who takes over is somebody else", async () => {
    const way = new SlowWay();
    const { server } = way.browser;
    const client = await way.browser.tab().openConnected({ transports, ...way.options });
    way.refuses = true;
    server.bye(4000, 1);
    await passUntil(() => !way.refuses);
    await passUntil(() => client.stats().connections === 2);
    server.overtake();
    await passUntil(() => client.status === "failed");
  });

  test("two copies do not take the client from each other for ever: one becomes another, and tells its writes", async () => {
    const first = new Browser();
    const tab = first.tab();
    const before = await tab.openConnected({ transports });
    await before.state.set("/of", "both");
    await tab.close(before);
    const second = new Browser(first.server);
    copyStore(first.local, second.local);
    const copy = second.tab();
    copyStore(tab.storage, copy.storage);
    const clients = [await tab.openConnected({ transports }), await copy.open({ transports, autoConnect: false })] as const;
    const unsent = clients.map((client) => record(client, "unsent"));
    expect(clients[1].clientId).toBe(clients[0].clientId);
    first.server.swallowReceipts = true;
    for (const [at, client] of clients.entries()) void client.send({ from: at }).catch(() => undefined);
    void clients[1].connection.connect();
    await passUntil(() => clients[0].clientId !== clients[1].clientId && clients.every(({ status }) => status === "connected"));
    await turns();
    first.server.swallowReceipts = false;
    first.server.drop();
    await passUntil(() => clients.every(({ pending, status }) => pending === 0 && status === "connected"));
    expect(unsent.map((told) => told.map(([writes, reason]) => [writes.length, reason])).flat()).toEqual([[1, "replaced"]]);
  });
});
