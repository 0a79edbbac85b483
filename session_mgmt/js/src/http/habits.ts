/** Habits of a client's polls: by streams or not, held by the server or not. */

import type { Environment } from "../environment";
import type { Position } from "../frames";
import type { TransportHost, TransportName } from "../transport";
import { Bell, type FindPlace } from "./bell";
import type { LinkHabits } from "./link";
import type { Memory } from "./memory";
import type { Pace } from "./poller";
import { isMultiplexed, Seats } from "./seats";

/** Milliseconds after which a hidden page polls rarely, and the seconds between these polls. */
const LONG_HIDDEN = 300_000;
const SELDOM = 60;
/** Milliseconds between the polls of a tab without a seat, and of a hidden tab. */
const SEATLESS = 10_000;
const SEATLESS_HIDDEN = 60_000;
/** Milliseconds between such polls while another tab reports something that this tab does not have. */
const RUNG = 1_000;
const RUNG_HIDDEN = 5_000;
/** Milliseconds to wait for a seat: a free one is given within this time. */
const SEATED_WITHIN = 50;

export class Habits implements LinkHabits {
  readonly #env: Environment;
  readonly #memory: Memory;
  readonly #allowsStreams: boolean;
  readonly #origin: string;
  readonly #nameOwner: () => string;
  /** Null if no other tabs share the browser's connections. */
  readonly #seats: Seats | null;
  readonly #bell: Bell;
  #hiddenSince: number | null = null;
  /** Time of the last poll for which the tab asked for a seat. */
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
    // Another tab may ring before that time.
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
    // Each poll comes through here, so the time is accurate to half a minute.
    this.#hiddenSince = isHidden ? (this.#hiddenSince ?? clock.now()) : null;
    return this.#hiddenSince !== null && clock.now() - this.#hiddenSince >= LONG_HIDDEN;
  }
}
