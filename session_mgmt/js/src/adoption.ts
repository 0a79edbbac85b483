/**
 * Send the writes that closed tabs of this browser left in their outboxes. Each closed tab's writes go under its own
 * client and with their own numbers, one tab after the other, while this tab holds the closed tab's lock. This tab adds
 * no writes of its own to them, so each write takes effect once, even if this tab dies meanwhile.
 */

import { CLOSE } from "./codes";
import type { Owner } from "./database";
import type { Environment } from "./environment";
import type { OutboxShelf } from "./mirror";
import type { ClientRow, OutboxStore } from "./outboxStore";
import type { Sending, SendingPort } from "./sending";

export interface AdoptionPort extends SendingPort {
  /** Load the connection that sends the writes. */
  loadSending(): Promise<{ Sending: typeof Sending }>;
  readOwner(): Owner;
  /** Return the key of this tab's own record. */
  readKey(): string;
  /** Report how many writes of closed tabs were sent. */
  tellAdopted(count: number): void;
  /** Report that the number of waiting writes of closed tabs has changed. */
  tellWaiting(): void;
}

const LOOK_EVERY = 300_000;
// Another tab may be sending the writes now, or the server may not have answered.
const LOOK_AGAIN = 5_000;

export class Adoption {
  /** Number of waiting writes of closed tabs. */
  waiting = 0;
  readonly #env: Environment;
  readonly #outboxes: OutboxShelf;
  readonly #store: OutboxStore;
  readonly #port: AdoptionPort;
  #timer: unknown = null;
  #isBusy = false;
  #wantsToSend = false;
  #isClosed = false;
  #sending: Sending | null = null;

  constructor(env: Environment, outboxes: OutboxShelf, port: AdoptionPort) {
    this.#env = env;
    this.#outboxes = outboxes;
    this.#store = outboxes.store;
    this.#port = port;
    this.#isBusy = true;
    void this.#count().then(() => {
      this.#isBusy = false;
      if (this.#wantsToSend) void this.look();
    });
  }

  /** Send the writes of closed tabs, and look again later. */
  async look(): Promise<void> {
    this.#wantsToSend = true;
    this.#isClosed = false;
    if (this.#isBusy) return;
    this.#isBusy = true;
    while (this.#wantsToSend && !this.#isClosed) {
      this.#wantsToSend = false;
      await this.#sendAll();
      await this.#count();
    }
    this.#isBusy = false;
    this.#env.clock.clearTimeout(this.#timer);
    const wait = this.waiting > 0 ? LOOK_AGAIN : LOOK_EVERY;
    if (!this.#isClosed) this.#timer = this.#env.clock.setTimeout(() => void this.look(), wait);
  }

  /** Drop the writes that closed tabs of an ended session left. With `isTold` they are reported to the application. */
  async abandon(owner: Owner, reason: string, isTold: boolean): Promise<void> {
    try {
      for (const [row] of await this.#store.listWaiting(owner, this.#port.readKey())) {
        await tryExclusively(this.#env, row.lock, () => this.#giveUp(row.key, reason, isTold));
      }
    } catch {
      // Without the store there are no such writes.
    }
    await this.#count();
  }

  /** Stop sending until the next `look`. */
  close(): void {
    this.#isClosed = true;
    this.#wantsToSend = false;
    this.#env.clock.clearTimeout(this.#timer);
    this.#sending?.stop();
  }

  #listWaiting(): Promise<[row: ClientRow, count: number][]> {
    return this.#store.listWaiting(this.#port.readOwner(), this.#port.readKey());
  }

  async #sendAll(): Promise<void> {
    try {
      for (const [row] of await this.#listWaiting()) {
        if (!this.#isClosed) await tryExclusively(this.#env, row.lock, () => this.#send(row));
      }
    } catch {
      // Without the store there is nothing to adopt. The store may be available at the next look.
    }
  }

  async #count(): Promise<void> {
    let waiting = 0;
    for (const [row, count] of await this.#listWaiting().catch(() => [])) {
      // An open tab holds its lock, and counts its own writes.
      await tryExclusively(this.#env, row.lock, async () => void (waiting += count));
    }
    if (this.#isClosed || waiting === this.waiting) return;
    this.waiting = waiting;
    this.#port.tellWaiting();
  }

  async #send(row: ClientRow): Promise<void> {
    const { Sending } = await this.#port.loadSending();
    const writes = await this.#store.readWrites(row.key);
    if (writes.length === 0 || this.#isClosed) return;
    // This must be stored before anything is sent: if the closed tab comes back, it begins as a new client.
    await this.#store.markAdopted(row);
    const sending = (this.#sending = new Sending(this.#env, this.#outboxes, row, writes, this.#port));
    const code = await sending.run();
    this.#sending = null;
    if (sending.settled > 0) this.#port.tellAdopted(sending.settled);
    if (code === CLOSE.CLIENT_FORGOTTEN) await this.#giveUp(row.key, "client_forgotten");
  }

  async #giveUp(key: string, reason: string, isTold = true): Promise<void> {
    const writes = await this.#store.readWrites(key);
    this.#store.remove(key);
    if (isTold && writes.length > 0) this.#port.tellUnsent(writes, reason);
  }
}

/** Run `work` while holding the lock `name`; do nothing if it is held already. */
async function tryExclusively({ locks }: Environment, name: string, work: () => Promise<void>): Promise<void> {
  await locks?.request(name, { ifAvailable: true }, async (lock) => {
    if (lock !== null) await work();
  });
}
