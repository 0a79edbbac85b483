/** Which tab leads: the one that holds a Web Lock. To wait for the lock is the fail-over. */

import type { Environment } from "../environment";

export class Election {
  /** Settled once it is known whether somebody leads. */
  readonly settled: Promise<void>;
  leads = false;
  readonly #env: Environment;
  readonly #name: string;
  readonly #tellChange: () => void;
  /** Raised by every claim: only the last one counts. */
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

  /** Take the lead from whoever has it. */
  seize(): void {
    if (!this.leads) this.#request({ steal: true });
  }

  /** Let go of the lead, and claim it no more. */
  close(): void {
    this.#claim += 1;
    this.#waiting.abort();
    this.leads = false;
    this.#release();
    this.#settle();
  }

  #request(options: { ifAvailable?: boolean; steal?: boolean }): void {
    const claim = (this.#claim += 1);
    // No lock is waited for twice.
    this.#waiting.abort();
    this.#waiting = new AbortController();
    // A browser takes no signal beside the others.
    const { ifAvailable, steal } = options;
    const given = ifAvailable || steal ? options : { signal: this.#waiting.signal };
    const lead = (lock: unknown): Promise<void> => (claim === this.#claim && lock ? this.#lead() : Promise.resolve());
    const end = (error?: unknown): void => {
      if (claim !== this.#claim) return;
      this.#lose();
      // A place that has no locks for this page will have none later.
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
