/** Full jitter: the wait before an attempt is random between nothing and a bound that grows. */

export interface RetryPolicy {
  /** Seconds; the bound before the growth. */
  initial: number;
  /** Seconds; the highest bound. */
  maximum: number;
  factor: number;
  /** Attempts in a row before giving up; 0 is never. */
  attempts: number;
}

export const DEFAULT_RETRY: RetryPolicy = { initial: 0.5, maximum: 20, factor: 2, attempts: 0 };

export class Backoff {
  policy: RetryPolicy = DEFAULT_RETRY;
  #attempt = 0;
  readonly #random: () => number;

  constructor(random: () => number) {
    this.#random = random;
  }

  get attempt(): number {
    return this.#attempt;
  }

  /** Return the milliseconds before the next attempt, at least `atLeast` seconds; null when there have been enough. */
  nextWait(atLeast = 0): number | null {
    const { initial, maximum, factor, attempts } = this.policy;
    if (attempts > 0 && this.#attempt >= attempts) return null;
    this.#attempt += 1;
    const bound = Math.min(maximum, initial * factor ** this.#attempt);
    // Clients that were all told the same second must not come in the same second.
    const spread = atLeast > 0 ? Math.min(1, bound) : bound;
    return (atLeast + this.#random() * spread) * 1000;
  }

  reset(): void {
    this.#attempt = 0;
  }
}
