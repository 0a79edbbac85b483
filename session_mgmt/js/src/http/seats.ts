/**
 * Seats of polls that are held. To a server of HTTP/1.1 a browser has six connections, which all its tabs share: a poll
 * that is held takes one, so the tabs together hold two. Tabs that are looked at go first; without Web Locks, which only
 * secure pages have, those have one each, and the others none.
 */

import type { Environment } from "../environment";
import { listen } from "../page";
import { pause } from "../pause";

const SEATS = 2;
/** Milliseconds after which a tab that nobody looks at asks for a seat: one that is shown just now goes first. */
const MANNERS = 1_000;

export class Seats {
  readonly #env: Environment;
  readonly #names: readonly string[];
  /** Ends the seat that this tab has. */
  #seat: AbortController | null = null;
  /** Ends the waiting for one. */
  #waiting: AbortController | null = null;
  #endWait = (): void => undefined;
  /** True if a wait that is about to begin is over. */
  #isWoken = false;

  constructor(env: Environment, origin: string) {
    this.#env = env;
    this.#names = Array.from({ length: SEATS }, (_, at) => `session-mgmt:${origin}:held:${at}`);
  }

  get #isHidden(): boolean {
    return this.#env.page?.document.visibilityState === "hidden";
  }

  /** Wait so many milliseconds for a seat; return the signal of its end, or null. Rejects if `signal` is aborted. */
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

  /** Let `take` wait no longer. */
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

  /** Ask for one of the seats; resolves when that is decided. */
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
        // A browser that keeps a page may take its locks away.
        if (seat && seat === this.#seat) this.leave();
      });
    });
  }

  #sit(): Promise<void> {
    this.#waiting?.abort();
    this.#waiting = null;
    const { signal } = (this.#seat = new AbortController());
    // A page that is frozen would keep it, and poll no more.
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

/** Return true if calls to an origin are known to share one connection: then polls that are held take nothing. */
export function isMultiplexed({ page }: Environment, origin: string): boolean {
  const { performance } = page?.window as { performance?: Performance };
  const list = (type: string): PerformanceEntryList => performance?.getEntriesByType(type) ?? [];
  return [...list("navigation"), ...list("resource")].some((entry) => {
    const { name, nextHopProtocol } = entry as PerformanceResourceTiming;
    return name.startsWith(`${origin}/`) && /^h[23]/.test(nextHopProtocol);
  });
}
