/** How a client polls here: by streams or not, held back or not. */

import type { Environment } from "../environment";
import type { TransportHost, TransportName } from "../transport";
import type { LinkHabits } from "./link";
import type { Memory } from "./memory";
import type { Pace } from "./poller";
import { isMultiplexed, Seats } from "./seats";

/** Milliseconds after which a page that nobody looks at polls seldom, and the seconds between its polls. */
const LONG_HIDDEN = 300_000;
const SELDOM = 60;
/** Milliseconds between the polls of a tab without a seat, and of one that nobody looks at. */
const SEATLESS = 10_000;
const SEATLESS_HIDDEN = 60_000;
/** Milliseconds within which a seat that is free is this tab's. */
const SEATED_WITHIN = 50;

export class Habits implements LinkHabits {
  readonly #env: Environment;
  readonly #memory: Memory;
  readonly #allowsStreams: boolean;
  readonly #origin: string;
  /** Null where there are no tabs that share connections, or no locks. */
  readonly #seats: Seats | null;
  #hiddenSince: number | null = null;
  /** Time of the last poll for which a seat was looked for. */
  #polledAt = 0;

  constructor({ env, rest }: TransportHost, memory: Memory, allowed: readonly TransportName[]) {
    this.#env = env;
    this.#memory = memory;
    this.#origin = new URL(rest.base).origin;
    this.#seats = env.page && env.locks && new Seats(env, this.#origin);
    this.#allowsStreams = allowed.includes("sse");
  }

  get prefersStream(): boolean {
    return this.#allowsStreams && !this.#memory.isBuffered;
  }

  noteBuffered(): void {
    this.#memory.noteBuffered();
  }

  async choosePace(signal: AbortSignal, isAnew: boolean): Promise<Pace> {
    const isSeldom = this.#isLongHidden();
    const isFree = !this.#seats || isMultiplexed(this.#env, this.#origin);
    if (isSeldom || isFree) this.rest();
    if (isSeldom) return { isHeld: false, wait: SELDOM };
    return isFree ? { isHeld: true, wait: 0 } : this.#awaitSeat(signal, isAnew);
  }

  rest(): void {
    this.#seats?.leave();
  }

  /** Wait for a seat, or for the time of a poll without one. */
  async #awaitSeat(signal: AbortSignal, isAnew: boolean): Promise<Pace> {
    const { clock } = this.#env;
    const every = this.#hiddenSince === null ? SEATLESS : SEATLESS_HIDDEN;
    const until = await this.#seats?.take(isAnew ? SEATED_WITHIN : this.#polledAt + every - clock.now(), signal);
    this.#polledAt = clock.now();
    return { isHeld: !!until, wait: 0, until };
  }

  #isLongHidden(): boolean {
    const { page, clock } = this.#env;
    const isHidden = page?.document.visibilityState === "hidden";
    // Every poll looks, so the time is right to half a minute.
    this.#hiddenSince = isHidden ? (this.#hiddenSince ?? clock.now()) : null;
    return this.#hiddenSince !== null && clock.now() - this.#hiddenSince >= LONG_HIDDEN;
  }
}
