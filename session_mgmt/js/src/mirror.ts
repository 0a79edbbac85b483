/** Copy of the outbox of one tab in the store that outlives the tab. It is updated within a turn of the event loop. */

import type { Clock } from "./environment";
import type { WriteFrame } from "./frames";
import type { ClientRow, OutboxStore } from "./outboxStore";

/** Outboxes of this browser, as the tabs use them. */
export interface OutboxShelf {
  readonly store: OutboxStore;
  /** Return the copy of the outbox that `describe` names. Call `tellStored` when it has caught up, or is gone. */
  newMirror(describe: () => ClientRow, tellStored: (isGone: boolean) => void): Mirror;
}

const PATIENCE = 3000;

export class Mirror {
  readonly #clock: Clock;
  readonly #describe: () => ClientRow;
  readonly #tellStored: (isGone: boolean) => void;
  /** Null after the store has failed. */
  #store: OutboxStore | null;
  /** Numbers of the writes that are stored or being stored. */
  readonly #numbers = new Set<number>();
  #changes = new Map<number, WriteFrame | null>();
  #isPlanned = false;
  /** Number of running transactions. */
  #running = 0;
  #isGuarded = false;
  #waiting: (() => void)[] = [];

  constructor(clock: Clock, store: OutboxStore, describe: () => ClientRow, tellStored: (isGone: boolean) => void) {
    this.#clock = clock;
    this.#store = store;
    this.#describe = describe;
    this.#tellStored = tellStored;
  }

  /** True if everything is stored. */
  get isComplete(): boolean {
    return this.#store !== null && !this.#isPlanned && this.#running === 0;
  }

  /** Store a write under its number; null removes it. */
  put(seq: number, write: WriteFrame | null): void {
    if (!this.#store || (write === null && !this.#numbers.has(seq))) return;
    if (write) this.#numbers.add(seq);
    else this.#numbers.delete(seq);
    this.#changes.set(seq, write);
    this.#plan();
  }

  /** Store the row again, because the client has another name. */
  touch(): void {
    if (this.#numbers.size > 0) this.#plan();
  }

  /**
   * Send nothing before the store is up to date. This is needed when a stored number is given to another write: if the
   * tab died in between, the tab that sends the stored write would repeat it under the number of the other one.
   */
  guard(): void {
    this.#isGuarded = this.#store !== null && !this.isComplete;
  }

  /** Return true if sending must wait, and call `resume` later; false if it may go on now. */
  awaitStored(resume: () => void): boolean {
    if (!this.#isGuarded) return false;
    if (!this.#waiting.includes(resume)) this.#waiting.push(resume);
    return true;
  }

  /** Store the changes of this turn of the event loop. */
  flush(): void {
    if (!this.#isPlanned) return;
    this.#isPlanned = false;
    const changes = this.#changes;
    this.#changes = new Map();
    if (!this.#store) return;
    this.#running += 1;
    let hasEnded = false;
    const end = (error: unknown): void => {
      if (hasEnded) return;
      hasEnded = true;
      this.#clock.clearTimeout(timer);
      this.#end(error);
    };
    // A store that hangs must not stop writes for ever.
    const timer = this.#clock.setTimeout(() => end(new Error("IndexedDB does not answer.")), PATIENCE);
    this.#store.save(this.#describe(), changes, this.#numbers.size > 0, end);
  }

  #plan(): void {
    if (this.#isPlanned) return;
    this.#isPlanned = true;
    queueMicrotask(() => this.flush());
  }

  #end(error: unknown): void {
    this.#running -= 1;
    if (error) this.#store = null;
    if (this.#store && !this.isComplete) return;
    this.#isGuarded = false;
    this.#tellStored(this.#store === null);
    for (const resume of this.#waiting.splice(0)) resume();
  }
}
