/** Timer for the exchange of tokens while a client is connected. */

import { RENEW_AGAIN } from "../beginning";
import type { Credentials } from "../credentials";
import type { Clock } from "../environment";
import { toFailure, type SessionError } from "../errors";

export interface RenewalPort {
  isConnected(): boolean;
  /** Exchange tokens that are due. */
  renew(): Promise<void>;
  /** End the session, because the server refuses it. */
  end(failure: SessionError): void;
}

const LONGEST_TIMER = 86_400_000;

export class Renewal {
  readonly #clock: Clock;
  readonly #credentials: Credentials;
  readonly #port: RenewalPort;
  #timer: unknown = null;
  /** True between the start and the end of the client. */
  #isActive = false;

  constructor(clock: Clock, credentials: Credentials, port: RenewalPort) {
    this.#clock = clock;
    this.#credentials = credentials;
    this.#port = port;
  }

  begin(): void {
    this.#isActive = true;
    this.plan();
  }

  /** Plan the next exchange by the age of the tokens. */
  plan(): void {
    this.stop();
    if (!this.#isActive || !this.#credentials.kept) return;
    const wait = this.#credentials.findDueIn();
    if (wait < Infinity) this.#planAfter(Math.min(wait, LONGEST_TIMER));
  }

  renewNow(): void {
    // Without a connection, the next connect checks the tokens first.
    if (this.#port.isConnected()) void this.#renew();
  }

  stop(): void {
    this.#clock.clearTimeout(this.#timer);
  }

  close(): void {
    this.#isActive = false;
    this.stop();
  }

  #planAfter(wait: number): void {
    this.stop();
    this.#timer = this.#clock.setTimeout(() => this.renewNow(), wait);
  }

  async #renew(): Promise<void> {
    if (!this.#isActive) return;
    try {
      await this.#port.renew();
      this.plan();
    } catch (error) {
      const failure = toFailure(error);
      if (!this.#isActive) return;
      if (failure.temporary) this.#planAfter(RENEW_AGAIN);
      else this.#port.end(failure);
    }
  }
}
