/**
 * Random inputs of every kind to one client: of its page, its network, its server and its storage. There are never two
 * sockets, no write is lost or happens twice, and no promise waits for ever.
 * By hand: `SEQUENCES=100000 npx vitest run tests/machine.test.ts`; another `SEED` gives other sequences.
 */

import fc from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";
import "../src/http/index";
import "../src/requests/index";
import { SessionClient, type TransportName } from "../src/index";
import { FakeLocks, FakeServer, MemoryStore } from "../src/testing";
import { FakePage } from "./harness";
import { Machine } from "./machine";

const machine = new Machine();
beforeAll(() => machine.start());
afterAll(() => machine.stop());

/** What has become of a promise. */
interface Watched {
  what: string;
  outcome: "waits" | "resolved" | string;
}

/** Store that may refuse to store. */
class TornStore extends MemoryStore {
  isFull = false;

  override setItem(key: string, value: string): void {
    if (this.isFull) throw new DOMException("full", "QuotaExceededError");
    super.setItem(key, value);
  }
}


class World {
  readonly effects = new Map<number, number>();
  readonly told = new Set<number>();
  readonly writes = new Map<number, Watched>();
  readonly promises: Watched[] = [];
  readonly server: FakeServer;
  readonly session = new TornStore();
  readonly local = new TornStore();
  readonly locks = new FakeLocks();
  page = new FakePage();
  client: SessionClient | null = null;
  #wasFull = false;
  #numbers = 0;
  #draws = 0;
  #subscription: (() => void) | null = null;

  constructor(readonly transports: TransportName[]) {
    this.server = new FakeServer({
      onMessage: (data) => {
        this.effects.set(data, (this.effects.get(data) ?? 0) + 1);
        return data;
      },
    });
  }

  async open(): Promise<void> {
    const { server, local, session, locks, transports } = this;
    this.page = new FakePage();
    const starting = SessionClient.start({
      ...{ url: "http://shop.test/api/", WebSocket: server.WebSocket, fetch: server.fetch, locks, indexedDB: null, transports },
      ...{ storage: { local, session }, page: this.page.page, BroadcastChannel: null as never },
      random: () => 0.25 + ((this.#draws += 1) % 997) / 2000,
    });
    const watched = this.watch("start", starting);
    for (let at = 0; at < 60 && watched.outcome === "waits"; at += 1) await machine.pass(5);
    this.client = watched.outcome === "resolved" ? await starting : null;
    this.client?.on("unsent", (writes) => {
      for (const { write } of writes) if ("data" in write) this.told.add(write.data as number);
    });
  }

  /** Note what becomes of a promise. */
  watch(what: string, promise: Promise<unknown>): Watched {
    const watched: Watched = { what, outcome: "waits" };
    promise.then(
      () => (watched.outcome = "resolved"),
      (error: Error) => (watched.outcome = error.name),
    );
    this.promises.push(watched);
    return watched;
  }

  send(signal?: AbortSignal): void {
    if (!this.client) return;
    const number = (this.#numbers += 1);
    // Refused at once.
    if (this.client.status === "failed") this.told.add(number);
    this.writes.set(number, this.watch(`send ${number}`, this.client.send(number, { signal })));
  }

  sendAborted(): void {
    const abort = new AbortController();
    this.send(abort.signal);
    // Taken back if it was not sent before.
    this.told.add(this.#numbers);
    setTimeout(() => abort.abort(), 300);
  }

  subscribe(): void {
    if (this.#subscription || !this.client) return;
    const subscription = this.client.topics.subscribe("t", () => undefined);
    this.#subscription = subscription;
    this.watch("subscribed", subscription.subscribed);
  }

  unsubscribe(): void {
    this.#subscription?.();
    this.#subscription = null;
  }

  ask(what: string, ask: (client: SessionClient) => Promise<unknown>): void {
    if (this.client) this.watch(what, ask(this.client));
  }

  async reload(): Promise<void> {
    // A browser that keeps nothing loses what waits; it has said so.
    if (this.#wasFull) for (const number of this.writes.keys()) this.told.add(number);
    this.client?.close();
    this.#subscription = null;
    await machine.turn();
    await this.open();
  }

  fillStorage(): void {
    this.#wasFull = this.session.isFull = this.local.isFull = true;
  }

  show(state: "visible" | "hidden"): void {
    this.page.document.visibilityState = state;
    this.page.document.dispatchEvent(new Event("visibilitychange"));
  }

  signal(type: "online" | "offline" | "pageshow" | "pagehide", persisted = false): void {
    this.page.window.dispatchEvent(Object.assign(new Event(type), { persisted }));
  }

  /** Sockets that the client holds: opening or open, and not given up. */
  countSockets(): number {
    return this.server.sockets.filter(({ closedWith, onopen, onmessage }) => closedWith === null && (onopen || onmessage)).length;
  }

  /** End all disturbances, and wait until nothing waits; a client that has failed is opened again. */
  async heal(): Promise<void> {
    const { server } = this;
    server.mend();
    // No server loses a receipt on a connection that lives on.
    if (server.swallowReceipts) server.drop();
    server.network.sockets = "open";
    server.network.openAfter = server.portal = server.lostAnswers = 0;
    server.swallowReceipts = this.session.isFull = this.local.isFull = false;
    server.http.isBuffered = server.http.refusesStreams = false;
    for (const each of [server.http.lost, server.http.missed, server.http.refusals]) for (const call of Object.keys(each)) delete each[call as never];
    server.replaceNext(0);
    this.show("visible");
    this.signal("pageshow", true);
    await machine.turn(5);
    for (let at = 0; at < 80 && !this.#isQuiet(); at += 1) {
      if (!this.client || this.client.status === "failed") await this.reload();
      if (this.client?.status === "disconnected") this.ask("connect", ({ connection }) => connection.connect());
      await machine.pass(5);
    }
  }

  #isQuiet(): boolean {
    const { client } = this;
    return client?.status === "connected" && client.pending === 0 && this.server.connected > 0;
  }
}

type Act = (world: World) => unknown;
type Step = [name: string, act: Act];

const CODES = [4000, 4001, 4002, 4004, 4005, 4006, 4013, 4029, 4030, 4102, 4501, 4502, 4507, 4508, 4509, 1011, 1012];
const codes = fc.constantFrom(...CODES);
const calls = fc.constantFrom("connections", "poll", "frames", "leave");

function make(name: string, act: Act): fc.Arbitrary<Step> {
  return fc.constant<Step>([name, act]);
}

const ofPage = fc.oneof(
  { weight: 6, arbitrary: make("send", (world) => world.send()) },
  make("send, then abort", (world) => world.sendAborted()),
  make("subscribe", (world) => world.subscribe()),
  make("unsubscribe", (world) => world.unsubscribe()),
  make("connect", (world) => world.ask("connect", ({ connection }) => connection.connect())),
  make("disconnect", ({ client }) => client?.connection.disconnect()),
  make("reconnect", (world) => world.ask("reconnect", ({ connection }) => connection.reconnect())),
  make("configure", (world) => world.ask("configure", ({ connection }) => connection.setConnectionConfig({ interval: 5 }))),
  make("info", (world) => world.ask("info", ({ state }) => state.info())),
  make("sync", (world) => world.ask("sync", ({ state }) => state.sync())),
  make("heartbeat", ({ client }) => client?.connection.setupHeartbeat(3)),
  make("hide", (world) => world.show("hidden")),
  make("show", (world) => world.show("visible")),
  make("online", (world) => world.signal("online")),
  make("pageshow", (world) => world.signal("pageshow")),
  make("leave", (world) => world.signal("pagehide", true)),
  make("come back", (world) => world.signal("pageshow", true)),
  { weight: 2, arbitrary: make("reload", (world) => world.reload()) },
  make("login", (world) => world.ask("login", (client) => client.login({ user: 7 }))),
  make("storage full", (world) => world.fillStorage()),
  make("storage good", ({ session, local }) => void (session.isFull = local.isFull = false)),
);
const ofNetwork = fc.oneof(
  make("drop", ({ server }) => server.drop()),
  make("cut", ({ server }) => server.cut()),
  make("mend", ({ server }) => server.mend()),
  make("offline", ({ server }) => void (server.offline = true)),
  fc.constantFrom("open", "refused", "silent", "swallowed").map((mode): Step => [`sockets ${mode}`, ({ server }) => void (server.network.sockets = mode as never)]),
  fc.constantFrom(0, 600, 2500).map((wait): Step => [`open after ${wait}`, ({ server }) => void (server.network.openAfter = wait)]),
  fc.constantFrom(0, 200, 403).map((status): Step => [`portal ${status}`, ({ server }) => void (server.portal = status)]),
  calls.map((call): Step => [`lose answer of ${call}`, ({ server }) => void (server.http.lost[call] = 1)]),
  calls.map((call): Step => [`miss ${call}`, ({ server }) => void (server.http.missed[call] = 1)]),
  make("buffered", ({ server }) => void (server.http.isBuffered = true)),
);
const ofServer = fc.oneof(
  { weight: 2, arbitrary: codes.map((code): Step => [`bye ${code}`, ({ server }) => server.bye(code, code < 4500 ? 1 : null)]) },
  make("busy", ({ server }) => server.refuse({ name: "busy", temporary: true })),
  make("refuse", ({ server }) => server.refuse({ name: "not_allowed", temporary: false })),
  make("swallow receipts", ({ server }) => void (server.swallowReceipts = true)),
  make("replace next", ({ server }) => server.replaceNext(1)),
  make("overtake", ({ server }) => server.overtake()),
  make("forget clients", ({ server }) => void (server.sessions.length && server.forgetClients())),
  make("expire", ({ server }) => void (server.sessions.length && server.expire())),
  make("lose an answer about identity", ({ server }) => void (server.lostAnswers = 1)),
  make("message", ({ server }) => void (server.sessions.length && server.message("hello"))),
  make("publish", ({ server }) => void server.publish("t", 1)),
);
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 6, arbitrary: ofPage },
  { weight: 3, arbitrary: ofNetwork },
  { weight: 3, arbitrary: ofServer },
  { weight: 3, arbitrary: fc.constantFrom(0, 0.05, 0.4, 1, 3, 16, 40, 760).map((s): Step => [`pass ${s}`, () => machine.pass(s)]) },
);

async function run(transports: TransportName[], steps: readonly Step[]): Promise<void> {
  const world = new World(transports);
  await world.open();
  for (const [, act] of steps) {
    await act(world);
    await machine.turn(1);
    expect(world.countSockets()).toBeLessThanOrEqual(1);
  }
  await world.heal();
  expect([world.client?.status, world.client?.pending]).toEqual(["connected", 0]);
  world.client?.close();
  await machine.pass(60);
  expect(world.countSockets()).toBe(0);
  expect(world.promises.filter(({ outcome }) => outcome === "waits")).toEqual([]);
  for (const [number, { outcome }] of world.writes) {
    const effects = world.effects.get(number) ?? 0;
    const mayBeLost = world.told.has(number) || outcome === "not_allowed";
    expect({ number, outcome, effects }).toEqual({ number, outcome, effects: mayBeLost && effects === 0 ? 0 : 1 });
  }
}

const SEQUENCES = Number(process.env.SEQUENCES ?? 1760);
/** Most inputs of a sequence: longer ones by hand. */
const LENGTH = process.env.SEQUENCES ? 24 : 12;
const SEED = Number(process.env.SEED ?? 20261127);
const kinds: [TransportName[], share: number][] = [
  [["websocket"], 0.68],
  [["websocket", "sse", "longpoll"], 0.22],
  [["sse"], 0.05],
  [["longpoll"], 0.05],
];

test.each(kinds)("over %s: one socket, each write once, no promise for ever", { timeout: 0 }, async (transports, share) => {
  const property = fc.asyncProperty(fc.array(step, { maxLength: LENGTH }), (steps) => run(transports, steps));
  await fc.assert(property, { numRuns: Math.ceil(SEQUENCES * share), seed: SEED, endOnFailure: process.env.SHRINK === undefined });
});
