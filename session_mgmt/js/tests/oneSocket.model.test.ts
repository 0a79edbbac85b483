/**
 * Tabs that share one connection and die at random while they write: nothing is lost, doubled or out of order.
 * More by hand: `RUNS=2000 npx vitest run tests/oneSocket.model.test.ts`.
 */

import fc from "fast-check";
import { expect, test } from "vitest";
import { pass, turns, useFakeClock } from "./harness";
import { countSockets, LiveBrowser, LiveTab } from "./liveTabs";

useFakeClock();

const TABS = 5;
const MANY = 10;
const RUNS = Number(process.env.RUNS ?? 6);
/** By hand each run is another one. */
const SEED = process.env.RUNS ? {} : { seed: 1 };

type Step =
  | { do: "write" | "freeze" | "thaw" | "hide" | "show" | "leave" | "crash" | "disturb"; tab: number }
  | { do: "publish" }
  | { do: "drop" }
  | { do: "pass"; seconds: number };

const at = fc.nat(TABS - 1);
const acts = ["write", "freeze", "thaw", "hide", "show", "leave", "crash", "disturb"] as const;
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 6, arbitrary: fc.record({ do: fc.constant("write" as const), tab: at }) },
  { weight: 5, arbitrary: fc.record({ do: fc.constantFrom(...acts), tab: at }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constantFrom("publish" as const, "drop" as const) }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant("pass" as const), seconds: fc.constantFrom(0.1, 1, 4, 20) }) },
);

/** How a tab leaves the lead: it ends, stands still, or shows another page of the session for a while. */
const ENDS = ["close", "crash", "freeze", "leave", "visit"] as const;
const round = fc.record({ end: fc.constantFrom(...ENDS), writers: fc.array(fc.nat(MANY - 1), { maxLength: 4 }) });

class World {
  readonly browser = new LiveBrowser();
  readonly tabs: LiveTab[] = [];
  readonly heard = new Map<LiveTab, unknown[]>();
  readonly written: string[] = [];
  #away = new Set<LiveTab>();
  #numbers = 0;

  async begin(loss: number, count = TABS): Promise<void> {
    for (let n = 0; n < count; n += 1) await this.#open(this.browser.tab(), n);
    let draw = 1;
    this.browser.channels.loses = () => (draw = (draw * 48_271) % 2_147_483_647) / 2_147_483_647 < loss;
  }

  async do(step: Step): Promise<void> {
    const { server } = this.browser;
    if (step.do === "pass") return pass(step.seconds);
    if (step.do === "publish") server.publish("t", `server ${(this.#numbers += 1)}`);
    else if (step.do === "drop") server.drop();
    else await this.#act(step.do, step.tab);
    await turns(2);
  }

  /** Open a tab that writes, and ends before anybody has answered. */
  async leaveOrphan(): Promise<void> {
    const orphan = this.browser.tab();
    await orphan.openShared();
    for (let n = 0; n < 5; n += 1) this.#write(orphan, MANY);
    orphan.crash();
  }

  /** Let some tabs write, and the one that leads go. */
  async endLeader({ end, writers }: { end: (typeof ENDS)[number]; writers: readonly number[] }): Promise<void> {
    const isThere = (tab: LiveTab): boolean => !tab.isDead && !tab.isFrozen && tab.client.status === "connected";
    const at = this.tabs.findIndex((tab) => isThere(tab) && tab.leads);
    const leader = this.tabs[at];
    for (const n of writers) await this.#act("write", n);
    if (leader && end === "close") await leader.close();
    else if (leader && end === "visit") await this.#visit(leader, at);
    else if (leader && end !== "close" && end !== "visit") await this.#act(end, at);
    await pass(2);
    // Those that went before are back.
    for (const [n, tab] of this.tabs.entries()) if (n !== at) await this.#wake(tab, n);
  }

  /** Demand that each write has happened once, and that everybody has heard everything in order. */
  check(): void {
    const { server } = this.browser;
    const { writes = {} } = server.session.document("main").value as { writes?: Record<string, number> };
    expect(writes).toEqual(Object.fromEntries(this.written.map((name) => [name, 1])));
    const told = server.topic("t").entries.map(([, , body]) => body as string);
    for (let n = 0; n <= MANY; n += 1) {
      const ofTab = (name: string): boolean => name.startsWith(`${n}-`);
      expect(told.filter(ofTab)).toEqual(this.written.filter(ofTab));
    }
    for (const tab of this.tabs) {
      const heard = this.heard.get(tab) as unknown[];
      // A tab that was reopened goes on from where the page before it was.
      expect(heard).toEqual(tab.isReopened ? told.slice(told.length - heard.length) : told);
      expect([tab.client.state.get("/writes") ?? {}, tab.client.status]).toEqual([writes, "connected"]);
    }
    expect(countSockets(this.browser)).toBe(1);
  }

  /** Let everything run, and wait until nothing waits. */
  async settle(): Promise<void> {
    this.browser.channels.loses = () => false;
    for (const [n, tab] of this.tabs.entries()) await this.#wake(tab, n);
    await this.#passUntil(({ client }) => client.pending === 0);
    await pass(40);
    // The last attempt may have been a while ago.
    await this.#passUntil(({ client }) => client.status === "connected");
  }

  async close(): Promise<void> {
    for (const { client } of this.tabs) client.close();
    await turns(2);
  }

  async #passUntil(isSo: (tab: LiveTab) => boolean): Promise<void> {
    for (let n = 0; n < 60 && !this.tabs.every(isSo); n += 1) await pass(1);
  }

  async #open(tab: LiveTab, n: number): Promise<void> {
    this.tabs[n] = tab;
    await tab.openShared();
    const heard: unknown[] = [];
    this.heard.set(tab, heard);
    tab.client.topics.subscribe("t", (data) => void heard.push(data));
    await turns(10);
  }

  /** Show another page in a tab, which writes too, and come back. */
  async #visit(tab: LiveTab, n: number): Promise<void> {
    tab.leave();
    const page = tab.next();
    await page.openShared();
    this.#write(page, n);
    await turns(2);
    page.leave();
    tab.comeBack();
    await turns(40);
  }

  async #wake(tab: LiveTab, n: number): Promise<void> {
    if (tab.isDead) return this.#open(tab.reopen(), n);
    if (this.#away.delete(tab)) return tab.comeBack();
    tab.thaw();
    tab.show("visible");
  }

  async #act(what: Exclude<Step["do"], "publish" | "drop" | "pass">, n: number): Promise<void> {
    const tab = this.tabs[n] as LiveTab;
    const isGone = tab.isDead || tab.isFrozen;
    if (what === "thaw") return this.#wake(tab, n);
    if (isGone) return;
    if (what === "write") return this.#write(tab, n);
    if (what === "crash") return tab.crash();
    if (what === "disturb") this.browser.server.http.lost.frames = 1;
    if (what === "freeze") tab.freeze();
    if (what === "hide") tab.show("hidden");
    if (what === "show") tab.show("visible");
    if (what === "leave") {
      this.#away.add(tab);
      tab.leave();
    }
  }

  #write(tab: LiveTab, n: number): void {
    const name = `${n}-${String((this.#numbers += 1)).padStart(4, "0")}`;
    this.written.push(name);
    tab.client.state.inc(`/writes/${name}`).catch(() => undefined);
    tab.client.topics.publish("t", name).catch(() => undefined);
  }
}

test("whatever becomes of the tabs, each write happens once and everybody hears everything in order", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 10, maxLength: 40 }), fc.constantFrom(0, 0.3, 0.9), async (steps, loss) => {
      const world = new World();
      await world.begin(loss);
      for (const each of steps) await world.do(each);
      await world.settle();
      world.check();
      await world.close();
    }),
    { numRuns: RUNS, endOnFailure: false },
  );
}, 1_000_000);

test("ten tabs whose leaders go every two seconds lose nothing, nor what a closed tab has left", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(round, { minLength: 4, maxLength: 10 }), fc.constantFrom(0, 0.3, 0.9), async (rounds, loss) => {
      const world = new World();
      await world.begin(loss, MANY);
      await world.leaveOrphan();
      for (const each of rounds) await world.endLeader(each);
      await world.settle();
      world.check();
      await world.close();
    }),
    { numRuns: Math.ceil(RUNS / 3), endOnFailure: false, ...SEED },
  );
}, 1_000_000);
