/**
 * Signs of life of the server: a deadline, a test of a doubtful connection, and the detection of a machine that slept.
 */

import type { Clock } from "./environment";

const LOOK_EVERY = 5_000;
// Nobody waits at a hidden page, and browsers run its timers once a minute anyway.
const LOOK_HIDDEN_EVERY = 60_000;
const LOOK_SOONEST = 250;
// A beat may be this late before it counts as missed.
const BEAT_LATE = 1_000;
// A timer that is this late was not only slow: the machine slept or the tab was frozen.
const LATE = 5_000;
const ANSWER_WITHIN = 3_000;
// A connection that ended sooner after its last frame was not ended because it was quiet.
const SHORTEST_QUIET = 4_000;

export interface HeartbeatPort {
  /** Ask the server for a sign of life. */
  askForLife(): void;
  /** End the connection, because no frame came for too long. */
  endSilent(): void;
  /** Report how many beats of the server were missed in a row. */
  tellMissed(missed: number): void;
  isHidden(): boolean;
}

export class Heartbeat {
  /** Milliseconds without any frame after which the connection counts as lost. */
  deadline = 35_000;
  /** Milliseconds between two beats that the server promises. */
  interval = 25_000;
  readonly #clock: Clock;
  readonly #port: HeartbeatPort;
  #heardAt = 0;
  #missed = 0;
  #lookAt = 0;
  #look: unknown = null;
  #doubt: unknown = null;
  /** Shortest silence after which a connection was lost: a proxy may end quiet connections. */
  #quietLimit = Infinity;
  #beat: unknown = null;

  constructor(clock: Clock, port: HeartbeatPort) {
    this.#clock = clock;
    this.#port = port;
  }

  /** Use other settings from now on; times in seconds. */
  configure({ interval, deadline }: { interval?: number; deadline?: number }): void {
    if (interval !== undefined) this.interval = interval * 1000;
    if (deadline !== undefined) this.deadline = deadline * 1000;
    if (this.#look !== null) this.#planLook();
  }

  start(): void {
    this.stop();
    this.noteLife();
    this.#planLook();
    this.#planBeat();
  }

  stop(): void {
    this.#clock.clearTimeout(this.#look);
    this.#clock.clearTimeout(this.#beat);
    this.#endDoubt();
    this.#look = null;
  }

  /** Note a sign of life; any frame is one. */
  noteLife(): void {
    this.#heardAt = this.#clock.now();
    this.#missed = 0;
    this.#endDoubt();
  }

  /** Test the connection after a possible change of the network, with a short wait for the answer. */
  startDoubt(): void {
    if (this.#look === null || this.#doubt !== null) return;
    // The page may be visible again, and the next look may be a minute away.
    this.#planLook();
    this.#doubt = this.#clock.setTimeout(() => this.#port.endSilent(), ANSWER_WITHIN);
    this.#port.askForLife();
  }

  /** Learn from a lost connection: the next one must not be quiet for as long. */
  noteLoss(): void {
    const silence = this.#clock.now() - this.#heardAt;
    if (silence >= SHORTEST_QUIET) this.#quietLimit = Math.min(this.#quietLimit, silence);
  }

  /** Ask the server twice within the time after which quiet connections were lost. */
  #planBeat(): void {
    if (this.#quietLimit > 2 * this.deadline) return;
    this.#beat = this.#clock.setTimeout(() => {
      this.#port.askForLife();
      this.#planBeat();
    }, this.#quietLimit / 2);
  }

  #planLook(): void {
    this.#clock.clearTimeout(this.#look);
    const wait = this.#port.isHidden() ? LOOK_HIDDEN_EVERY : Math.min(LOOK_EVERY, this.#timeToNext());
    this.#lookAt = this.#clock.now() + wait;
    this.#look = this.#clock.setTimeout(() => this.#lookForLife(), wait);
  }

  #lookForLife(): void {
    const late = Math.abs(this.#clock.now() - this.#lookAt);
    const silence = this.#clock.now() - this.#heardAt;
    this.#planLook();
    if (silence >= this.deadline) this.#port.endSilent();
    else if (late > LATE) this.startDoubt();
    else this.#countMissed(silence);
  }

  #countMissed(silence: number): void {
    if (silence < this.#nextMiss()) return;
    this.#missed += 1;
    this.#planLook();
    this.#port.tellMissed(this.#missed);
  }

  /** Return the silence after which one more beat counts as missed. */
  #nextMiss(): number {
    return (this.#missed + 1) * this.interval + BEAT_LATE;
  }

  #timeToNext(): number {
    const next = Math.min(this.deadline, this.#nextMiss());
    return Math.max(LOOK_SOONEST, this.#heardAt + next - this.#clock.now());
  }

  #endDoubt(): void {
    this.#clock.clearTimeout(this.#doubt);
    this.#doubt = null;
  }
}
