/** How a client polls here: by streams or not, held back or not. */

import type { Environment } from "../environment";
import type { Position } from "../frames";
import type { TransportHost, TransportName } from "../transport";
import { Bell, type FindPlace } from "./bell";
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
/** The same while another tab tells of something that this one has not heard. */
const RUNG = 1_000;
const RUNG_HIDDEN = 5_000;
/** Milliseconds within which a seat that is free is this tab's. */
const SEATED_WITHIN = 50;

export class Habits implements LinkHabits {
  readonly #env: Environment;
  readonly #memory: Memory;
  readonly #allowsStreams: boolean;
  readonly #origin: string;
  readonly #nameOwner: () => string;
  /** Null where there are no tabs that share connections. */
  readonly #seats: Seats | null;
  readonly #bell: Bell;
  #hiddenSince: number | null = null;
  /** Time of the last poll for which a seat was looked for. */
  #polledAt = 0;

  constructor({ env, rest, nameOwner }: TransportHost, memory: Memory, allowed: readonly TransportName[]) {
    this.#env = env;
    this.#memory = memory;
    this.#origin = new URL(rest.base).origin;
    this.#nameOwner = nameOwner;
    this.#seats = env.page && new Seats(env, this.#origin);
    this.#bell = new Bell(env, () => this.#seats?.stopWaiting());
    this.#allowsStreams = allowed.includes("sse");
  }

  get prefersStream(): boolean {
    return this.#allowsStreams && !this.#memory.isBuffered;
  }

  noteBuffered(): void {
    this.#memory.noteBuffered();
  }

  async choosePace(signal: AbortSignal, isAnew: boolean, findPlace: FindPlace): Promise<Pace> {
    const isSeldom = this.#isLongHidden();
    const seats = isMultiplexed(this.#env, this.#origin) ? null : this.#seats;
    if (isSeldom || !seats) this.rest();
    if (isSeldom) return { isHeld: false, wait: SELDOM };
    return seats ? this.#awaitSeat(seats, signal, isAnew, findPlace) : { isHeld: true, wait: 0 };
  }

  tellPlace(log: string, position: Position): void {
    this.#bell.tell(log, position);
  }

  rest(): void {
    this.#seats?.leave();
    this.#bell.close();
  }

  /** Wait for a seat, or for the time of a poll without one. */
  async #awaitSeat(seats: Seats, signal: AbortSignal, isAnew: boolean, findPlace: FindPlace): Promise<Pace> {
    const { clock } = this.#env;
    this.#bell.open(this.#nameOwner());
    const measureWait = (): number => (isAnew ? SEATED_WITHIN : this.#polledAt + this.#chooseGap(findPlace) - clock.now());
    let until = await seats.take(measureWait(), signal);
    // Another tab may have rung before the time.
    while (!until && !isAnew && measureWait() > 0) until = await seats.take(measureWait(), signal);
    this.#polledAt = clock.now();
    this.#bell.clear();
    return { isHeld: !!until, wait: 0, until };
  }

  /** Return the milliseconds between two polls without a seat. */
  #chooseGap(findPlace: FindPlace): number {
    const isSeen = this.#hiddenSince === null;
    if (this.#bell.isRung(findPlace)) return isSeen ? RUNG : RUNG_HIDDEN;
    return isSeen ? SEATLESS : SEATLESS_HIDDEN;
  }

  #isLongHidden(): boolean {
    const { page, clock } = this.#env;
    const isHidden = page?.document.visibilityState === "hidden";
    // Every poll looks, so the time is right to half a minute.
    this.#hiddenSince = isHidden ? (this.#hiddenSince ?? clock.now()) : null;
    return this.#hiddenSince !== null && clock.now() - this.#hiddenSince >= LONG_HIDDEN;
  }
}
