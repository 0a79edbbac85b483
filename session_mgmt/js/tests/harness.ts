/** A browser with tabs in memory, and a clock that the tests move. */

import "fake-indexeddb/auto";
import { IDBFactory } from "fake-indexeddb";
import { afterEach, beforeEach, vi } from "vitest";
// Loaded before the clock stands still: loading takes real time.
import "../src/batch";
import "../src/changes/index";
import "../src/content";
import "../src/http/index";
import { SessionClient, type SessionEvents, type StartOptions, type TransportName } from "../src/index";
import { FakeLocks, FakeServer, MemoryStore } from "../src/testing";
// Parts that the client loads when it needs them: here they are there, for loading takes real time.
import "../src/copies";
import "../src/outboxes";
import "../src/sending";
import "../src/substitutes";

export class FakePage {
  readonly window = new EventTarget();
  readonly document: EventTarget & { visibilityState: string } = Object.assign(new EventTarget(), {
    visibilityState: "visible",
  });

  get page() {
    return { window: this.window, document: this.document };
  }
}

let tabs = 0;
let draws = 0;

/** Transports on which a client does everything alike. */
export const TRANSPORTS: TransportName[] = ["websocket", "sse", "longpoll"];

/** One tab: its sessionStorage outlives its pages. */
export class Tab {
  readonly page = new FakePage();
  readonly number = (tabs += 1);

  constructor(
    readonly browser: Browser,
    readonly storage = new MemoryStore(),
  ) {}

  /** Name of the record that this tab uses. */
  get key(): string {
    const names = Array.from({ length: this.storage.length }, (_, at) => this.storage.key(at) as string);
    return JSON.parse(this.storage.getItem(names.find((name) => name.endsWith("::client")) as string) as string);
  }

  /** As a browser's "duplicate tab": another tab with a copy of the storage. */
  duplicate(): Tab {
    return new Tab(this.browser, this.copyStorage());
  }

  copyStorage(): MemoryStore {
    const copy = new MemoryStore();
    for (let at = 0; at < this.storage.length; at += 1) {
      const key = this.storage.key(at) as string;
      copy.setItem(key, this.storage.getItem(key) as string);
    }
    return copy;
  }

  async open(options: StartOptions = {}): Promise<SessionClient> {
    const client = await settled(this.start(options));
    clients.push(client);
    return client;
  }

  start(options: StartOptions = {}): Promise<SessionClient> {
    const { server, local, locks, databases } = this.browser;
    return SessionClient.start({
      url: "http://shop.test/api/",
      WebSocket: server.WebSocket,
      fetch: server.fetch,
      storage: { local, session: this.storage },
      locks,
      indexedDB: databases,
      page: this.page.page,
      transports: ["websocket"],
      // Every name is another one; waits stay near the middle of their bounds.
      random: () => 0.5 + this.number * 1e-6 + (draws += 1) * 1e-12,
      ...options,
    });
  }

  /** Open a page and waits for its connection. */
  async openConnected(options: StartOptions = {}): Promise<SessionClient> {
    const client = await this.open(options);
    await until(() => client.status === "connected");
    return client;
  }

  /** The page goes without a goodbye, as in a reload; its lock and its connection go with it. */
  async close(client: SessionClient): Promise<void> {
    client.close();
    await turns();
  }
}

export class Browser {
  readonly local = new MemoryStore();
  readonly locks = new FakeLocks();
  readonly databases = new IDBFactory();

  constructor(readonly server = new FakeServer()) {}

  tab(): Tab {
    return new Tab(this);
  }
}

const clients: SessionClient[] = [];

export function useFakeClock(): void {
  beforeEach(() => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "Date"] });
  });
  afterEach(() => {
    for (const client of clients.splice(0)) client.close();
    vi.useRealTimers();
  });
}

/** Let everything happen that waits for no timer. */
export async function turns(count = 20): Promise<void> {
  for (let at = 0; at < count; at += 1) await new Promise((resolve) => setImmediate(resolve));
}

export async function until(condition: () => boolean): Promise<void> {
  for (let at = 0; at < 500 && !condition(); at += 1) await turns(1);
  if (!condition()) throw new Error(`never came true: ${condition}`);
}

/** Move the clock, with everything that happens in between. */
export async function pass(seconds: number): Promise<void> {
  await turns(3);
  await vi.advanceTimersByTimeAsync(seconds * 1000);
  await turns(3);
}

/** Moves the clock, second by second, until something has come true. */
export async function passUntil(condition: () => boolean): Promise<void> {
  for (let at = 0; at < 120 && !condition(); at += 1) {
    await pass(1);
    await turns();
  }
  if (!condition()) throw new Error(`never came true: ${condition}`);
}

export async function settled<T>(promise: Promise<T>): Promise<T> {
  let done = false;
  const mark = (): void => void (done = true);
  promise.then(mark, mark);
  // Locks and retries wait on the clock.
  for (let at = 0; at < 200 && !done; at += 1) {
    await turns();
    if (!done) await vi.advanceTimersByTimeAsync(100);
  }
  return promise;
}

/** Collect what one kind of event brings. */
export function record<K extends keyof SessionEvents>(client: SessionClient, type: K): SessionEvents[K][] {
  const seen: SessionEvents[K][] = [];
  client.on(type, (...args) => void seen.push(args));
  return seen;
}

/** The name of the error that a promise is rejected with. */
export async function refusal(promise: Promise<unknown>): Promise<string> {
  return promise.then(
    () => "resolved",
    (error: Error) => error.name,
  );
}
