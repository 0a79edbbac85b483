/** Web Locks in memory, for several tabs of one browser. */

import type { LocksLike } from "../environment";

export class FakeLocks implements LocksLike {
  readonly #queues = new Map<string, Promise<unknown>>();
  /** How many hold a lock or wait for it. */
  readonly #claims = new Map<string, number>();

  request(
    name: string,
    options: { signal?: AbortSignal; ifAvailable?: boolean },
    callback: (lock: unknown) => Promise<unknown>,
  ): Promise<unknown> {
    const claims = this.#claims.get(name) ?? 0;
    if (options.ifAvailable && claims > 0) return callback(null);
    this.#claims.set(name, claims + 1);
    const before = this.#queues.get(name) ?? Promise.resolve();
    const aborted = new Promise<never>((_, reject) => {
      options.signal?.addEventListener("abort", () => reject(new DOMException("aborted", "AbortError")));
    });
    const granted = Promise.race([before, aborted]);
    const held = granted.then(() => callback({ name }));
    // Who gave up hands the lock on when it would have been its turn.
    const released = held.catch(() => undefined).then(() => before);
    this.#queues.set(name, released);
    void released.then(() => this.#claims.set(name, (this.#claims.get(name) ?? 1) - 1));
    return held;
  }
}
