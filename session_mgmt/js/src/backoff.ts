/** Waits with full jitter: the wait before an attempt is random, up to a bound that grows. */

export interface RetryPolicy {
  /** Bound of the first wait, in seconds. */
  initial: number;
  /** Highest bound, in seconds. */
  maximum: number;
  factor: number;
  /** Failed attempts in a row before giving up; 0 for never. */
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

  /** Return the milliseconds before the next attempt, at least `atLeast` seconds; null after the last attempt. */
  nextWait(atLeast = 0): number | null {
    const { initial, maximum, factor, attempts } = this.policy;
    if (attempts > 0 && this.#attempt >= attempts) return null;
    this.#attempt += 1;
    const bound = Math.min(maximum, initial * factor ** this.#attempt);
    // Clients that the server told the same wait must not come back in the same second.
    const spread = atLeast > 0 ? Math.min(1, bound) : bound;
    return (atLeast + this.#random() * spread) * 1000;
  }

  reset(): void {
    this.#attempt = 0;
  }
}
