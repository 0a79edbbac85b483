/** Tabs that share one connection, and die: they are closed, crash, freeze, hide, or go to another page and back. */

import type { SocketClass } from "../src/environment";
import type { SessionClient, StartOptions } from "../src/index";
import { FakeChannels, FakeLocks, MemoryStore, type FakeServer } from "../src/testing";
import "../src/tabs/index";
import { Browser, Tab, turns } from "./harness";

type Task = () => void;

export class LiveBrowser extends Browser {
  readonly channels = new FakeChannels();

  override tab(): LiveTab {
    return new LiveTab(this);
  }
}

/** Tab whose page can stop at any moment: then nothing comes to it, or not before it goes on. */
export class LiveTab extends Tab {
  client!: SessionClient;
  #isDead = false;
  /** What came to a frozen page; null while it runs. */
  #kept: Task[] | null = null;
  #sockets = new Set<{ close(): void }>();
  #calls = new Set<AbortController>();
  /** Names of the Web Locks that the page holds, and of the channels that it listens to. */
  readonly held = new Set<string>();
  readonly heard = new Set<string>();

  constructor(
    readonly live: LiveBrowser,
    storage = new MemoryStore(),
    readonly isReopened = false,
  ) {
    super(live, storage);
  }

  get isFrozen(): boolean {
    return this.#kept !== null;
  }

  get isDead(): boolean {
    return this.#isDead;
  }

  /** Another page of the same tab, as a link leads to. */
  next(): LiveTab {
    return new LiveTab(this.live, this.storage);
  }

  /** As a browser reopens a tab that has crashed: another page with the same storage, and nothing in its memory. */
  reopen(): LiveTab {
    return new LiveTab(this.live, this.copyStorage(), true);
  }

  async openShared(options: StartOptions = {}): Promise<SessionClient> {
    const { channels, server, locks } = this.live;
    this.client = await this.openConnected({
      oneSocket: true,
      BroadcastChannel: this.#makeChannels(channels),
      WebSocket: this.#makeSockets(server),
      fetch: (url, init) => this.#fetch(server, url, init),
      clock: {
        now: () => Date.now(),
        setTimeout: (task, milliseconds) => setTimeout(() => this.#run(task), milliseconds),
        clearTimeout: (timer) => clearTimeout(timer as never),
      },
      locks: { request: (name, given, callback) => this.#request(locks, name, given, callback) },
      ...options,
    });
    return this.client;
  }

  get leads(): boolean {
    return this.client.stats().transport !== "tab";
  }

  /** Close it, as a person does. */
  override async close(): Promise<void> {
    this.client.close();
    this.crash();
  }

  /** End it without a word. */
  crash(): void {
    this.#isDead = true;
    for (const socket of this.#sockets) socket.close();
    for (const call of this.#calls) call.abort();
    this.live.locks.releaseAll(this);
  }

  freeze(): void {
    this.#kept = [];
  }

  thaw(): void {
    const kept = this.#kept ?? [];
    this.#kept = null;
    for (const task of kept) this.#run(task);
  }

  show(visibilityState: "visible" | "hidden"): void {
    this.page.document.visibilityState = visibilityState;
    this.page.document.dispatchEvent(new Event("visibilitychange"));
  }

  /** Go to another page; this one is kept by the browser. */
  leave(): void {
    this.page.window.dispatchEvent(Object.assign(new Event("pagehide"), { persisted: true }));
    this.show("hidden");
    this.freeze();
  }

  comeBack(): void {
    this.thaw();
    this.page.window.dispatchEvent(Object.assign(new Event("pageshow"), { persisted: true }));
    this.show("visible");
  }

  #run(task: Task): void {
    if (this.#isDead) return;
    if (this.#kept) this.#kept.push(task);
    else task();
  }

  #makeSockets(server: FakeServer): unknown {
    const tab = this;
    return class extends (server.WebSocket as SocketClass) {
      constructor(url: string, protocols: string[]) {
        super(url, protocols);
        tab.#sockets.add(this as never);
        for (const name of ["onopen", "onmessage", "onclose"]) gate(this, name, (task) => tab.#run(task));
      }
    };
  }

  #makeChannels(channels: FakeChannels): never {
    const { heard } = this;
    return class extends channels.forTab((task) => this.#run(task)) {
      constructor(readonly called: string) {
        super(called);
        heard.add(called);
      }

      override close(): void {
        heard.delete(this.called);
        super.close();
      }
    } as never;
  }

  async #fetch(server: FakeServer, url: string, init: RequestInit = {}): Promise<Response> {
    const call = new AbortController();
    this.#calls.add(call);
    const end = (): void => call.abort(init.signal?.reason);
    init.signal?.addEventListener("abort", end);
    try {
      return await this.#gated(server.fetch(url, { ...init, signal: call.signal }));
    } finally {
      init.signal?.removeEventListener("abort", end);
      this.#calls.delete(call);
    }
  }

  #request(locks: FakeLocks, ...[name, options, callback]: Parameters<FakeLocks["request"]>): Promise<unknown> {
    // A page that stands still asks for nothing, nor does one that is gone.
    if (this.#isDead) return new Promise(() => undefined);
    if (this.#kept) return new Promise((resolve) => this.#run(() => resolve(this.#request(locks, name, options, callback))));
    const work = async (lock: unknown): Promise<unknown> => {
      if (lock) this.held.add(name);
      const given = await this.#gated(Promise.resolve(lock));
      return Promise.resolve(callback(given)).finally(() => lock && this.held.delete(name));
    };
    return this.#gated(locks.request(name, options, work, this));
  }

  /** Settle with a promise, but not before this page runs. */
  #gated<T>(promise: Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      promise.then(
        (value) => this.#run(() => resolve(value)),
        (error) => this.#run(() => reject(error)),
      );
    });
  }
}

/** Let what an event handler does wait until `run` does it. */
function gate(target: object, name: string, run: (task: Task) => void): void {
  let handler: ((event: never) => void) | null = null;
  Object.defineProperty(target, name, {
    get: () => handler && ((event: never) => run(() => handler?.(event))),
    set: (given) => (handler = given),
  });
}

/** Open so many tabs that share; the first one leads. */
export async function openTabs(count: number, browser = new LiveBrowser()): Promise<[LiveBrowser, ...LiveTab[]]> {
  const tabs: LiveTab[] = [];
  for (let at = 0; at < count; at += 1) {
    const tab = browser.tab();
    await tab.openShared();
    tabs.push(tab);
    await turns();
  }
  return [browser, ...tabs];
}

/** Number of sockets that are open. */
export function countSockets({ server }: Browser): number {
  return server.sockets.filter(({ open }) => open).length;
}
