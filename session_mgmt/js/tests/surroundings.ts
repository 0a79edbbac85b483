/** Surroundings that know what a client holds of them: timers, sockets, calls, locks, channels, listeners, databases. */

import { IDBFactory } from "fake-indexeddb";
import type { StartOptions } from "../src/index";
import { FakeChannels, FakeLocks, MemoryStore, type FakeServer } from "../src/testing";

/** What the tabs of one browser have in common. */
export class Profile {
  readonly local = new MemoryStore();
  readonly locks = new FakeLocks();
  readonly channels = new FakeChannels();

  constructor(readonly server: FakeServer) {}
}

class CountingTarget extends EventTarget {
  readonly #listeners = new Map<unknown, Set<string>>();

  get count(): number {
    return [...this.#listeners.values()].reduce((sum, { size }) => sum + size, 0);
  }

  override addEventListener(type: string, listener: EventListener): void {
    super.addEventListener(type, listener);
    this.#listeners.set(listener, (this.#listeners.get(listener) ?? new Set()).add(type));
  }

  override removeEventListener(type: string, listener: EventListener): void {
    super.removeEventListener(type, listener);
    this.#listeners.get(listener)?.delete(type);
  }
}

let draws = 0;

export class Surroundings {
  readonly databases = new IDBFactory();
  /** Milliseconds that calls of frames take to the server, and that their answers take back. */
  slow: { arrives?: number; answers?: number } | null = null;
  readonly window = new CountingTarget();
  readonly document = Object.assign(new CountingTarget(), { visibilityState: "visible" });
  readonly #databases: { _closed: boolean }[] = [];
  readonly #sockets: { closedWith: number | null; onopen: unknown; onmessage: unknown }[] = [];
  readonly #timers = new Map<unknown, Error>();
  readonly #held = new Map<string, number>();

  constructor(
    readonly profile: Profile,
    readonly storage = new MemoryStore(),
    databases?: IDBFactory,
  ) {
    if (databases) this.databases = databases;
  }

  get options(): StartOptions {
    const { server, local, locks, channels } = this.profile;
    const surroundings = this;
    const listSockets = this.#sockets;
    const WebSocket = class extends (server.WebSocket as unknown as new (url: string, protocols: string[]) => object) {
      constructor(url: string, protocols: string[]) {
        super(url, protocols);
        listSockets.push(this as never);
      }
    };
    return {
      url: "http://shop.test/api/",
      WebSocket,
      fetch: (url, init) => this.#fetch(url, init),
      storage: { local, session: this.storage },
      indexedDB: {
        open: (name: string, version: number) => {
          const request = this.databases.open(name, version);
          request.addEventListener("success", () => void this.#databases.push(request.result as never));
          return request;
        },
      } as never,
      page: { window: this.window, document: this.document },
      random: () => 0.5 + (draws += 1) * 1e-9,
      clock: {
        now: () => Date.now(),
        setTimeout: (task, milliseconds) => {
          const timer = setTimeout(() => {
            this.#timers.delete(timer);
            task();
          }, milliseconds);
          this.#timers.set(timer, new Error());
          return timer;
        },
        clearTimeout: (timer) => {
          this.#timers.delete(timer);
          clearTimeout(timer as never);
        },
      },
      locks: {
        request: (name, given, callback) => {
          this.#count(`lock ${name}`, 1);
          return locks.request(name, given, callback, this).finally(() => this.#count(`lock ${name}`, -1));
        },
      },
      BroadcastChannel: class extends channels.forTab() {
        #isOpen = true;

        constructor(name: string) {
          super(name);
          surroundings.#count(`channel ${name}`, 1);
        }

        override close(): void {
          if (this.#isOpen) surroundings.#count(`channel ${(this as unknown as { name: string }).name}`, -1);
          this.#isOpen = false;
          super.close();
        }
      } as never,
    };
  }

  /** Name everything that is held. */
  list(): string[] {
    const open = this.#sockets.filter(({ closedWith, onopen, onmessage }) => closedWith === null && (onopen || onmessage));
    const databases = this.#databases.filter(({ _closed }) => !_closed);
    const counts = { sockets: open.length, databases: databases.length, "of window": this.window.count, "of document": this.document.count };
    const found = [...this.#held, ...Object.entries(counts), ...[...this.#timers.values()].map((made): [string, number] => [`timer by ${nameCaller(made)}`, 1])];
    return found.filter(([, count]) => count !== 0).map(([name, count]) => `${count} ${name}`);
  }

  signal(type: "online" | "pageshow" | "pagehide", persisted = false): void {
    this.window.dispatchEvent(Object.assign(new Event(type), { persisted }));
  }

  show(state: "visible" | "hidden"): void {
    this.document.visibilityState = state;
    this.document.dispatchEvent(new Event("visibilitychange"));
  }

  /** Its page is gone without a word. */
  crash(): void {
    for (const socket of this.#sockets) (socket as unknown as { close(): void }).close();
    this.profile.locks.releaseAll(this);
  }

  async #fetch(url: string, init: RequestInit = {}): Promise<Response> {
    const { server } = this.profile;
    // The server hears it although the page is gone.
    if (init.keepalive) return server.fetch(url, init);
    this.#count(`call ${url}`, 1);
    const aborted = new Promise<never>((_, reject) => {
      init.signal?.addEventListener("abort", () => reject(init.signal?.reason));
    });
    aborted.catch(() => undefined);
    init.signal?.throwIfAborted();
    const isSlow = this.slow !== null && url.endsWith("/frames/");
    const answered = isSlow ? this.#fetchSlowly(url, init) : server.fetch(url, init);
    return Promise.race([answered, aborted]).finally(() => this.#count(`call ${url}`, -1));
  }

  /** Let a call arrive late, and its answer too; it is under way although nobody waits for it any more. */
  async #fetchSlowly(url: string, { signal: _, ...init }: RequestInit): Promise<Response> {
    const { arrives = 0, answers = 0 } = this.slow ?? {};
    await new Promise((resolve) => setTimeout(resolve, arrives));
    const answer = await this.profile.server.fetch(url, init);
    await new Promise((resolve) => setTimeout(resolve, answers));
    return answer;
  }

  #count(name: string, count: number): void {
    this.#held.set(name, (this.#held.get(name) ?? 0) + count);
  }
}

function nameCaller(made: Error): string {
  const lines = (made.stack ?? "").split("\n").slice(2, 6);
  return lines.map((line) => line.trim().replace(/^at /, "").replace(/\(.*\/src\//, "(")).join(" < ");
}
