/**
 * Clients that are closed at any moment of what they do: nothing of them lives on, and no promise waits.
 * Every moment by hand: `EVERY=1 npx vitest run tests/closing.test.ts`.
 */

import { expect, test } from "vitest";
import type { StartOptions } from "../src/index";
import { go, machine, useMachine, World } from "./moments";

useMachine();

/** Ask for everything that a client can be asked for. */
function askAll(world: World): void {
  const { client } = world;
  const watch = (what: string, promise: Promise<unknown>): void => world.watch(what, promise);
  watch("set", client.state.set("/a", 1));
  watch("send", client.send("hello"));
  watch("publish", client.topics.publish("t", 1));
  watch("subscribed", client.topics.subscribe("u", () => undefined).subscribed);
  watch("with a value", client.topics.subscribe("v", () => undefined, { snapshot: () => undefined }).subscribed);
  watch("info", client.state.info());
  watch("sync", client.state.sync());
  watch("history", client.topics.history("t"));
  watch("presence", client.topics.presence("t").then((presence) => presence.enter({})));
  watch("config", client.connection.setConnectionConfig({ interval: 5 }));
  watch("connect", client.connection.connect());
  watch("documents", client.documents());
  watch("getSession", client.sessions.getSession());
}
interface Scenario {
  options?: StartOptions;
  /** Bring the client to where it is about to do it. */
  prepare?(world: World): unknown;
  act(world: World): unknown;
  /** Seconds that pass while it does it. */
  seconds?: number[];
  /** What was asked for is finished, for at most some seconds. */
  isSentStill?: boolean;
}

const SHARED = { oneSocket: true } as const;

const SCENARIOS: Record<string, Scenario> = {
  "it asks for everything": { options: { transports: ["websocket"] }, act: (world) => askAll(world) },
  "it asks for everything by polls": { options: { transports: ["longpoll"] }, act: (world) => askAll(world) },
  "it asks for everything by streams": { options: { transports: ["sse"] }, act: (world) => askAll(world) },
  "it connects by a socket": {
    options: { transports: ["websocket"] },
    prepare: ({ client }) => client.connection.disconnect(),
    act: (world) => askAll(world),
  },
  "it resumes by a socket": {
    options: { transports: ["websocket"] },
    prepare: async (world) => {
      world.server.cut();
      await machine.pass(60);
      askAll(world);
      world.server.mend();
    },
    act: ({ around }) => around.signal("online"),
    seconds: [3, 3],
  },
  "it goes over to HTTP": {
    prepare: ({ server }) => void (server.network.sockets = "refused"),
    act: (world) => {
      world.server.drop();
      askAll(world);
    },
    seconds: [1, 1, 2, 3, 5],
  },
  "it goes over to a slow socket": {
    prepare: async (world) => {
      world.client.connection.disconnect();
      world.server.network.openAfter = 1300;
    },
    act: (world) => askAll(world),
    seconds: [0.5, 0.4, 0.3, 0.2, 1],
  },
  "it probes for a socket": {
    prepare: async (world) => {
      world.server.network.sockets = "refused";
      world.server.drop();
      await machine.pass(30);
      world.server.network.sockets = "open";
    },
    act: (world) => {
      askAll(world);
      world.around.signal("online");
    },
    seconds: [20, 20, 100],
  },
  "it follows": {
    options: { ...SHARED, autoConnect: false },
    prepare: (world) => world.openOther(SHARED),
    act: (world) => askAll(world),
    seconds: [1, 6],
  },
  "it begins to lead": {
    options: SHARED,
    prepare: async (world) => {
      world.client.close();
      await world.openOther(SHARED);
      await world.open(SHARED);
    },
    act: (world) => {
      askAll(world);
      world.others[0]?.[0].close();
    },
    seconds: [1],
  },
  "it loses the lead": {
    options: SHARED,
    prepare: (world) => world.openOther(SHARED),
    act: (world) => {
      askAll(world);
      world.around.show("hidden");
    },
    seconds: [6, 1, 1],
  },
  "it asks a leader that is gone": {
    options: SHARED,
    prepare: async (world) => {
      world.client.close();
      await world.openOther(SHARED);
      await world.open(SHARED);
      world.profile.channels.loses = () => true;
    },
    act: (world) => askAll(world),
    seconds: [11, 3, 3],
  },
  "its page goes, and comes back": {
    options: { transports: ["websocket"] },
    act: async (world) => {
      askAll(world);
      await machine.turn(1);
      world.around.signal("pagehide", true);
      askAll(world);
      await machine.turn(1);
      world.around.signal("pageshow", true);
    },
    seconds: [1],
  },
  "its token is refreshed": {
    options: { transports: ["websocket"] },
    act: (world) => {
      askAll(world);
      world.server.bye(4001);
    },
    seconds: [1, 1],
  },
  "its session expires": {
    options: { transports: ["websocket"] },
    act: (world) => {
      askAll(world);
      world.server.expire();
    },
    seconds: [1, 1],
  },
  "its client is forgotten": {
    options: { transports: ["websocket"] },
    act: (world) => {
      askAll(world);
      world.server.forgetClients();
    },
    seconds: [1, 1],
  },
  "somebody logs in": { act: (world) => (askAll(world), world.watch("login", world.client.login({ user: 7 }))) },
  "somebody logs out": { isSentStill: true, act: (world) => (askAll(world), world.watch("logout", world.client.logout())), seconds: [1, 1] },
  "it sends what a closed tab left": {
    options: { autoConnect: false },
    prepare: async (world) => {
      const [other] = await world.openOther();
      world.server.cut();
      for (let n = 0; n < 3; n += 1) void other.state.inc("/n");
      await machine.turn(5);
      other.close();
      world.server.mend();
    },
    act: (world) => world.watch("connect", world.client.connection.connect()),
    seconds: [1],
  },
  "it gathers updates": {
    options: { sync: { mode: "delayed" } },
    act: (world) => askAll(world),
    seconds: [0.1, 0.2],
  },
  "it keeps copies": {
    options: { cache: "indexeddb" },
    act: (world) => askAll(world),
    seconds: [0.1, 1],
  },
};

/** Steps between two moments; some of them are enough for each run. */
const EVERY = Number(process.env.EVERY ?? 397);

async function closeAfter(steps: number, { options = {}, prepare, act, seconds = [], isSentStill }: Scenario): Promise<boolean> {
  const world = new World();
  await world.open({ ...options, autoConnect: true });
  await prepare?.(world);
  await machine.turn(5);
  void act(world);
  if (!(await go(steps, seconds))) return false;
  world.client.close();
  world.watch("connect after the end", world.client.connection.connect());
  // A database is closed when its transactions are over.
  await machine.turn(40);
  if (!isSentStill) check(world, steps);
  await machine.pass(60);
  check(world, steps);
  for (const [other] of world.others) other.close();
  return true;
}

/** Demand that nothing is held, and that no promise waits. */
function check({ around, promises }: World, steps: number): void {
  const waits = promises.filter(({ outcome }) => outcome === "waits").map(({ what }) => what);
  expect({ steps, held: around.list(), waits }).toEqual({ steps, held: [], waits: [] });
}

test.each(Object.entries(SCENARIOS))("a client that is closed while %s", { timeout: 0 }, async (name, scenario) => {
  // Another moment in each of them.
  for (let steps = name.length % EVERY; await closeAfter(steps, scenario); steps += EVERY);
});

test.each([{}, SHARED])("a page in its browser's cache holds nothing that others want (%o)", async (options) => {
  const world = new World();
  await world.open({ ...options });
  await machine.pass(1);
  world.around.signal("pagehide", true);
  await machine.turn(40);
  expect(world.around.list().filter((held) => /lock|channel|socket|call/.test(held))).toEqual([]);
  world.client.close();
});

test("a client whose session has ended asks for no tokens, and for no connection", async () => {
  const world = new World();
  await world.open();
  world.server.terminate();
  await machine.pass(1);
  expect([world.client.status, world.around.list().filter((held) => /[rR]enewal|onnection|socket|call/.test(held))]).toEqual(["failed", []]);
  world.client.close();
});
