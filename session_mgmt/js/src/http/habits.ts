/** How a client polls here: by streams or not, held back or not. */

import type { Environment } from "../environment";
import type { TransportName } from "../transport";
import type { LinkHabits } from "./link";
import type { Memory } from "./memory";
import type { Pace } from "./poller";

/** Milliseconds after which a page that nobody looks at polls seldom, and the seconds between its polls. */
const LONG_HIDDEN = 300_000;
const SELDOM = 60;

export class Habits implements LinkHabits {
  readonly #env: Environment;
  readonly #memory: Memory;
  readonly #allowsStreams: boolean;
  #hiddenSince: number | null = null;

  constructor(env: Environment, memory: Memory, allowed: readonly TransportName[]) {
    this.#env = env;
    this.#memory = memory;
    this.#allowsStreams = allowed.includes("sse");
  }

  get prefersStream(): boolean {
    return this.#allowsStreams && !this.#memory.isBuffered;
  }

  noteBuffered(): void {
    this.#memory.noteBuffered();
  }

  async choosePace(): Promise<Pace> {
    return this.#isLongHidden() ? { isHeld: false, wait: SELDOM } : { isHeld: true, wait: 0 };
  }

  #isLongHidden(): boolean {
    const { page, clock } = this.#env;
    const isHidden = page?.document.visibilityState === "hidden";
    // Every poll looks, so the time is right to half a minute.
    this.#hiddenSince = isHidden ? (this.#hiddenSince ?? clock.now()) : null;
    return this.#hiddenSince !== null && clock.now() - this.#hiddenSince >= LONG_HIDDEN;
  }
}
