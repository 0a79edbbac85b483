/**
 * Seats of polls that are held. To a server of HTTP/1.1 a browser has six connections, which all its tabs share: a poll
 * that is held takes one, so the tabs together hold two. Tabs that are looked at go first.
 */

import type { Environment } from "../environment";
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
  #tell = (): void => undefined;

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
    if (this.#isHidden) {
      this.leave();
      if (left > MANNERS) {
        await pause(this.#env.clock, MANNERS, signal);
        left -= MANNERS;
        for (const name of this.#names) if (!this.#seat) await this.#ask(name, { ifAvailable: true });
      }
    } else if (!this.#seat && !this.#waiting) {
      this.#waiting = new AbortController();
      for (const name of this.#names) void this.#ask(name, { signal: this.#waiting.signal });
    }
    if (!this.#seat && left > 0) await this.#await(left, signal);
    return this.#seat?.signal ?? null;
  }

  /** Give the seat to another tab, and wait for none. */
  leave(): void {
    this.#waiting?.abort();
    this.#seat?.abort();
    this.#waiting = this.#seat = null;
  }

  /** Ask for one of the seats; resolves when that is decided. */
  #ask(name: string, options: { ifAvailable?: boolean; signal?: AbortSignal }): Promise<void> {
    return new Promise((resolve) => {
      const take = (lock: unknown): Promise<void> => {
        resolve();
        return !lock || this.#seat || options.signal?.aborted ? Promise.resolve() : this.#sit();
      };
      this.#env.locks?.request(name, options, take).catch(() => resolve());
    });
  }

  #sit(): Promise<void> {
    this.#waiting?.abort();
    this.#waiting = null;
    const { signal } = (this.#seat = new AbortController());
    const document = this.#env.page?.document;
    const leaveIfHidden = (): void => {
      if (this.#isHidden) this.leave();
    };
    document?.addEventListener("visibilitychange", leaveIfHidden);
    this.#tell();
    return new Promise((resolve) => {
      signal.addEventListener("abort", () => {
        document?.removeEventListener("visibilitychange", leaveIfHidden);
        resolve();
      });
    });
  }

  async #await(within: number, signal: AbortSignal): Promise<void> {
    let timer: unknown;
    try {
      await new Promise<void>((resolve, reject) => {
        timer = this.#env.clock.setTimeout(resolve, within);
        this.#tell = resolve;
        signal.addEventListener("abort", () => reject(signal.reason), { once: true });
        if (signal.aborted) reject(signal.reason);
      });
    } finally {
      this.#env.clock.clearTimeout(timer);
    }
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
