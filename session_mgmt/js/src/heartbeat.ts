/** Whether the server still speaks: a deadline, a question after a doubt, and the notice of a sleeping machine. */

import type { Clock } from "./environment";

const LOOK_EVERY = 5_000;
// A timer that is this late was not just slow: the machine slept or the tab was frozen.
const LATE = 5_000;
const ANSWER_WITHIN = 3_000;

export interface HeartbeatPort {
  /** Asks the server for a sign of life. */
  probe(): void;
  /** Nothing was heard for too long. */
  silent(): void;
}

export class Heartbeat {
  /** Milliseconds without any frame after which the connection counts as dead. */
  deadline = 35_000;
  readonly #clock: Clock;
  readonly #port: HeartbeatPort;
  #heardAt = 0;
  #lookAt = 0;
  #look: unknown = null;
  #doubt: unknown = null;

  constructor(clock: Clock, port: HeartbeatPort) {
    this.#clock = clock;
    this.#port = port;
  }

  start(): void {
    this.stop();
    this.heard();
    this.#plan();
  }

  stop(): void {
    this.#clock.clearTimeout(this.#look);
    this.#settleDoubt();
    this.#look = null;
  }

  /** Any frame is a sign of life. */
  heard(): void {
    this.#heardAt = this.#clock.now();
    this.#settleDoubt();
  }

  /** Something may have happened to the network: ask, and do not wait long for the answer. */
  doubt(): void {
    if (this.#look === null || this.#doubt !== null) return;
    this.#doubt = this.#clock.setTimeout(() => this.#port.silent(), ANSWER_WITHIN);
    this.#port.probe();
  }

  #plan(): void {
    this.#lookAt = this.#clock.now() + LOOK_EVERY;
    this.#look = this.#clock.setTimeout(() => this.#check(), LOOK_EVERY);
  }

  #check(): void {
    const late = Math.abs(this.#clock.now() - this.#lookAt);
    this.#plan();
    if (this.#clock.now() - this.#heardAt > this.deadline) this.#port.silent();
    else if (late > LATE) this.doubt();
  }

  #settleDoubt(): void {
    this.#clock.clearTimeout(this.#doubt);
    this.#doubt = null;
  }
}
