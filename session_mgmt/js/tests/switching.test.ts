/**
 * A write near the limit of a frame that waits, or is half sent, while its client changes its transport or its page.
 * Every moment by hand: `EVERY=1 npx vitest run tests/switching.test.ts`.
 */

import { expect, test } from "vitest";
import { go, machine, useMachine, World } from "./moments";

useMachine();

const LIMIT = 16_384;
/** Text that just fits a frame, with what is around it. */
const LARGE = "x".repeat(LIMIT - 120);
const WRITES = ["first", LARGE, "last"];

/** Ways to another transport: what comes before, and the change. */
const WAYS: Record<string, [prepare: (world: World) => unknown, change: (world: World) => void, seconds: number[]]> = {
  "from HTTP to a socket": [
    async ({ server }) => {
      server.network.sockets = "refused";
      server.drop();
      await machine.pass(100);
    },
    ({ server, around }) => {
      server.network.sockets = "open";
      around.signal("online");
    },
    [1, 1.5, 1, 2],
  ],
  "from a socket to HTTP": [
    () => undefined,
    ({ server }) => {
      server.network.sockets = "refused";
      server.drop();
    },
    [0.5, 1, 2, 3, 1],
  ],
};

/** How slow calls are, in milliseconds: a change waits for them for 2 s. */
const CALLS = { quick: null, "slow to arrive": { arrives: 1200 }, "too slow to arrive": { arrives: 3000 }, "too slow to be answered": { answers: 3000 } };

const cases = Object.keys(WAYS).flatMap((way) => Object.keys(CALLS).map((calls) => [way, calls as keyof typeof CALLS] as const));
/** Steps between two moments; some of them are enough for each run. */
const EVERY = Number(process.env.EVERY ?? 521);

async function change(way: string, calls: keyof typeof CALLS, reloads: boolean, steps: number): Promise<boolean> {
  const [prepare, begin, seconds] = WAYS[way] as (typeof WAYS)[string];
  const world = new World();
  world.server.settings.limits = { frame_bytes: LIMIT };
  await world.open();
  await prepare(world);
  world.around.slow = CALLS[calls];
  const write = (): void => {
    for (const data of WRITES) world.watch(data.slice(0, 5), world.client.topics.publish("t", data));
  };
  if (reloads) write();
  begin(world);
  if (!(await go(steps, seconds))) return false;
  if (!reloads) write();
  else {
    world.client.close();
    await world.reopen();
  }
  for (let at = 0; at < 30 && (world.client.pending > 0 || world.client.status !== "connected"); at += 1) await machine.pass(1);
  // What is still under way arrives.
  await machine.pass(5);
  const told = world.server.topic("t").entries.map(([, , body]) => body);
  expect(told.map((body) => WRITES.indexOf(body))).toEqual([0, 1, 2]);
  const wrong = world.promises.filter(({ outcome }) => outcome !== "resolved" && !(reloads && outcome === "closed"));
  expect(wrong).toEqual([]);
  world.client.close();
  // A database is closed when its transactions are over.
  await machine.turn(40);
  expect(world.around.list()).toEqual([]);
  return true;
}

test.each(cases)("changes %s while calls are %s: everything happens once, in order, whenever it is written", { timeout: 0 }, async (way, calls) => {
  for (let steps = calls.length % EVERY; await change(way, calls, false, steps); steps += EVERY);
});

test.each(cases)("changes %s while calls are %s: everything happens once, in order, whenever the page is loaded again", { timeout: 0 }, async (way, calls) => {
  for (let steps = calls.length % EVERY; await change(way, calls, true, steps); steps += EVERY);
});
