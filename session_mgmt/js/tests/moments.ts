/** Every moment of what a client does: a test acts so many steps later, each time in another world. */

import "fake-indexeddb/auto";
import { afterAll, beforeAll } from "vitest";
import "../src/batch";
import "../src/changes/index";
import "../src/content";
import "../src/copies";
import "../src/http/index";
import "../src/outboxes";
import "../src/requests/index";
import "../src/sending";
import "../src/substitutes";
import "../src/tabs/index";
import { SessionClient, type StartOptions } from "../src/index";
import { FakeServer } from "../src/testing";
import { Machine } from "./machine";
import { Profile, Surroundings } from "./surroundings";

export const machine = new Machine();

export function useMachine(): void {
  beforeAll(() => machine.start());
  afterAll(() => machine.stop());
}

export class World {
  readonly server = new FakeServer();
  readonly profile = new Profile(this.server);
  around = new Surroundings(this.profile);
  readonly others: [SessionClient, Surroundings][] = [];
  readonly promises: { what: string; outcome: string }[] = [];
  client!: SessionClient;

  async open(options: StartOptions = {}): Promise<SessionClient> {
    this.client = await this.start(this.around, options);
    return this.client;
  }

  /** Another page of the same tab. */
  reopen(options: StartOptions = {}): Promise<SessionClient> {
    this.around = new Surroundings(this.profile, this.around.storage, this.around.databases);
    return this.open(options);
  }

  async openOther(options: StartOptions = {}): Promise<[SessionClient, Surroundings]> {
    const around = new Surroundings(this.profile, undefined, this.around.databases);
    const other: [SessionClient, Surroundings] = [await this.start(around, options), around];
    this.others.push(other);
    return other;
  }

  watch(what: string, promise: Promise<unknown>): void {
    const watched = { what, outcome: "waits" };
    promise.then(
      () => (watched.outcome = "resolved"),
      (error: Error) => (watched.outcome = error.name),
    );
    this.promises.push(watched);
  }

  async start(around: Surroundings, options: StartOptions): Promise<SessionClient> {
    let client: SessionClient | null = null;
    void SessionClient.start({ ...around.options, ...options } as StartOptions).then((found) => (client = found));
    for (let at = 0; at < 50 && (client as SessionClient | null)?.status !== "connected"; at += 1) await machine.pass(0.3);
    return client as unknown as SessionClient;
  }
}

const HOPS = 12;
const TURNS = 12;

/** Go so many steps: microtasks, turns of the loop, then some time, and so on. Return false if that is over. */
export async function go(steps: number, seconds: readonly number[]): Promise<boolean> {
  let left = steps;
  for (const wait of [...seconds, 0]) {
    for (let turn = 0; turn < TURNS; turn += 1) {
      for (let hop = 0; hop < HOPS; hop += 1) {
        if (left-- === 0) return true;
        await null;
      }
      await machine.turn(1);
    }
    if (wait > 0) await machine.pass(wait);
  }
  return false;
}
