/** Web Locks in memory, for several tabs of one browser. */

import type { LocksLike } from "../environment";

export class FakeLocks implements LocksLike {
  readonly #queues = new Map<string, Promise<unknown>>();

  request(name: string, options: { signal?: AbortSignal }, callback: () => Promise<unknown>): Promise<unknown> {
    const before = this.#queues.get(name) ?? Promise.resolve();
    const aborted = new Promise<never>((_, reject) => {
      options.signal?.addEventListener("abort", () => reject(new DOMException("aborted", "AbortError")));
    });
    const granted = Promise.race([before, aborted]);
    const held = granted.then(callback);
    // Who gave up hands the lock on when it would have been its turn.
    const released = held.catch(() => undefined).then(() => before);
    this.#queues.set(name, released);
    return held;
  }
}
