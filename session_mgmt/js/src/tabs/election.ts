/** Election of the leading tab: the holder of a Web Lock leads. Waiting tabs get the lock when the leader ends. */

import type { Environment } from "../environment";

export class Election {
  /** Settled when it is known whether a tab leads. */
  readonly settled: Promise<void>;
  leads = false;
  readonly #env: Environment;
  readonly #name: string;
  readonly #tellChange: () => void;
  /** Number of claims so far; only the last one counts. */
  #claim = 0;
  #waiting = new AbortController();
  #release = (): void => undefined;
  #settle = (): void => undefined;

  constructor(env: Environment, name: string, tellChange: () => void) {
    this.#env = env;
    this.#name = name;
    this.#tellChange = tellChange;
    this.settled = new Promise((resolve) => (this.#settle = resolve));
    this.#request({ ifAvailable: true });
  }

  /** Take the lead from the present leader. */
  seize(): void {
    if (!this.leads) this.#request({ steal: true });
  }

  /** Release the lead, and claim it no more. */
  close(): void {
    this.#claim += 1;
    this.#waiting.abort();
    this.leads = false;
    this.#release();
    this.#settle();
  }

  #request(options: { ifAvailable?: boolean; steal?: boolean }): void {
    const claim = (this.#claim += 1);
    // A tab waits for a lock only once.
    this.#waiting.abort();
    this.#waiting = new AbortController();
    // `signal` cannot be combined with these options.
    const { ifAvailable, steal } = options;
    const given = ifAvailable || steal ? options : { signal: this.#waiting.signal };
    const lead = (lock: unknown): Promise<void> => (claim === this.#claim && lock ? this.#lead() : Promise.resolve());
    const end = (error?: unknown): void => {
      if (claim !== this.#claim) return;
      this.#lose();
      // If the page may not use locks, that will not change.
      if (error === undefined || (error as Error).name === "AbortError") this.#request({});
    };
    this.#env.locks?.request(this.#name, given, lead).then(() => end(), end);
  }

  #lead(): Promise<void> {
    this.leads = true;
    this.#settle();
    this.#tellChange();
    return new Promise((resolve) => (this.#release = resolve));
  }

  /** Note that another tab has the lock, or has taken it from this one. */
  #lose(): void {
    const led = this.leads;
    this.leads = false;
    this.#settle();
    if (led) this.#tellChange();
  }
}
