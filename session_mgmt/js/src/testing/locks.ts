/** Web Locks in memory, for several tabs of one browser. */

import type { LocksLike } from "../environment";

interface Claim {
  /** Tab that claims the lock. It releases all its locks when it ends. */
  owner: object;
  grant(): void;
  fail(): void;
}

type Options = Parameters<LocksLike["request"]>[1];
type Callback = Parameters<LocksLike["request"]>[2];

export class FakeLocks implements LocksLike {
  readonly #held = new Map<string, Claim>();
  readonly #queues = new Map<string, Claim[]>();

  request(name: string, options: Options, callback: Callback, owner: object = this): Promise<unknown> {
    const { signal, ifAvailable, steal } = options;
    const isFree = !this.#held.has(name);
    if (ifAvailable && !isFree) return Promise.resolve(null).then(callback);
    return new Promise((resolve, reject) => {
      const fail = (): void => {
        const queue = this.#queues.get(name);
        if (queue?.includes(claim)) queue.splice(queue.indexOf(claim), 1);
        reject(new DOMException("aborted", "AbortError"));
      };
      const grant = (): void => {
        this.#held.set(name, claim);
        signal?.removeEventListener("abort", fail);
        const work = Promise.resolve({ name }).then(callback);
        void work.then(resolve, reject).finally(() => this.#release(name, claim));
      };
      const claim: Claim = { owner, grant, fail };
      signal?.addEventListener("abort", fail);
      if (signal?.aborted) return fail();
      if (steal) this.#held.get(name)?.fail();
      if (steal || isFree) return grant();
      this.#queues.set(name, [...(this.#queues.get(name) ?? []), claim]);
    });
  }

  /** Release everything that a tab holds or waits for, because the tab has ended. */
  releaseAll(owner: object): void {
    for (const [name, queue] of this.#queues) this.#queues.set(name, queue.filter((claim) => claim.owner !== owner));
    for (const [name, claim] of this.#held) if (claim.owner === owner) this.#release(name, claim);
  }

  isHeldBy(name: string, owner: object): boolean {
    return this.#held.get(name)?.owner === owner;
  }

  #release(name: string, claim: Claim): void {
    // Another claim may have stolen the lock.
    if (this.#held.get(name) !== claim) return;
    this.#held.delete(name);
    this.#queues.get(name)?.shift()?.grant();
  }
}
