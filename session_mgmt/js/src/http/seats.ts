/**
 * Seats for held polls. All tabs of a browser share six connections to a server of HTTP/1.1, and a held poll takes one
 * of them. So all tabs together hold at most two polls. Visible tabs go first. Without Web Locks, which only secure
 * pages have, each visible tab has a seat and hidden tabs have none.
 */

import type { Environment } from "../environment";
import { listen } from "../page";
import { pause } from "../pause";

const SEATS = 2;
/**
 * Milliseconds that a hidden tab waits before it asks for a seat, so that a tab that becomes visible now goes first.
 */
const MANNERS = 1_000;

export class Seats {
  readonly #env: Environment;
  readonly #names: readonly string[];
  /** Ends the seat of this tab. */
  #seat: AbortController | null = null;
  /** Ends the waiting for a seat. */
  #waiting: AbortController | null = null;
  #endWait = (): void => undefined;
  /** True if the wait that is about to begin must end at once. */
  #isWoken = false;

  constructor(env: Environment, origin: string) {
    this.#env = env;
    this.#names = Array.from({ length: SEATS }, (_, at) => `session-mgmt:${origin}:held:${at}`);
  }

  get #isHidden(): boolean {
    return this.#env.page?.document.visibilityState === "hidden";
  }

  /**
   * Wait at most so many milliseconds for a seat; return the signal of its end, or null. Rejects if `signal` is
   * aborted.
   */
  async take(within: number, signal: AbortSignal): Promise<AbortSignal | null> {
    let left = within;
    this.#isWoken = false;
    if (this.#isHidden) {
      this.leave();
      if (left > MANNERS) {
        await pause(this.#env.clock, MANNERS, signal);
        left -= MANNERS;
        for (const name of this.#names) if (!this.#seat) await this.#ask(name, { ifAvailable: true });
      }
    } else if (!this.#seat && !this.#waiting) {
      const waiting = (this.#waiting = new AbortController());
      for (const name of this.#names) void this.#ask(name, { signal: waiting.signal });
    }
    if (!this.#seat && left > 0 && !this.#isWoken) await this.#await(left, signal);
    return this.#seat?.signal ?? null;
  }

  /** End the present or next wait of `take`. */
  stopWaiting(): void {
    this.#isWoken = true;
    this.#endWait();
  }

  /** Give the seat to another tab, and wait for none. */
  leave(): void {
    this.#waiting?.abort();
    this.#seat?.abort();
    this.#waiting = this.#seat = null;
  }

  /** Request one of the seats. Resolves when it is granted or refused. */
  #ask(name: string, options: { ifAvailable?: boolean; signal?: AbortSignal }): Promise<void> {
    const { locks } = this.#env;
    return new Promise((resolve) => {
      let seat: AbortController | null = null;
      const take = (lock: unknown): Promise<void> => {
        resolve();
        if (!lock || this.#seat || options.signal?.aborted) return Promise.resolve();
        const left = this.#sit();
        seat = this.#seat;
        return left;
      };
      if (!locks) return void take(!this.#isHidden);
      locks.request(name, options, take).catch(() => {
        resolve();
        // A browser that freezes a page may take its locks away.
        if (seat && seat === this.#seat) this.leave();
      });
    });
  }

  #sit(): Promise<void> {
    this.#waiting?.abort();
    this.#waiting = null;
    const { signal } = (this.#seat = new AbortController());
    // A frozen page would keep its seat without polling.
    const unwatch = listen(this.#env.page?.document, ["visibilitychange", "freeze"], ({ type }) => {
      if (this.#isHidden || type === "freeze") this.leave();
    });
    this.#endWait();
    return new Promise((resolve) => {
      signal.addEventListener("abort", () => {
        unwatch();
        resolve();
      });
    });
  }

  async #await(within: number, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    const over = new AbortController();
    const end = (): void => over.abort();
    this.#endWait = end;
    signal.addEventListener("abort", end);
    await pause(this.#env.clock, within, over.signal).catch(() => undefined);
    signal.removeEventListener("abort", end);
    signal.throwIfAborted();
  }
}

/** Return true if calls to an origin are known to share one connection, so that a held poll blocks no other call. */
export function isMultiplexed({ page }: Environment, origin: string): boolean {
  const { performance } = page?.window as { performance?: Performance };
  const list = (type: string): PerformanceEntryList => performance?.getEntriesByType(type) ?? [];
  return [...list("navigation"), ...list("resource")].some((entry) => {
    const { name, nextHopProtocol } = entry as PerformanceResourceTiming;
    return name.startsWith(`${origin}/`) && /^h[23]/.test(nextHopProtocol);
  });
}
