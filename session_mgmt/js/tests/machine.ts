/**
 * Time of a world that a test turns: timers ring when it says so, and a turn costs microseconds. The fake timers of the
 * other tests let real time pass at each of them, which thousands of sequences cannot afford.
 */

interface Timer {
  at: number;
  id: number;
  ring(): void;
}

const MOST_RINGS = 20_000;

export class Machine {
  #now = Date.parse("2026-11-27T12:00:00Z");
  #id = 0;
  #timers: Timer[] = [];
  readonly #real = { setTimeout: globalThis.setTimeout, clearTimeout: globalThis.clearTimeout, now: Date.now };

  /** Take the place of the timers and the clock until `stop`. */
  start(): void {
    globalThis.setTimeout = ((callback: (...args: unknown[]) => void, wait = 0, ...args: unknown[]) => {
      const id = (this.#id += 1);
      // In whole milliseconds, as everywhere.
      this.#timers.push({ at: this.#now + Math.max(1, Math.trunc(wait)), id, ring: () => callback(...args) });
      return id;
    }) as never;
    globalThis.clearTimeout = ((id: unknown) => {
      this.#timers = this.#timers.filter((timer) => timer.id !== id);
    }) as never;
    Date.now = () => this.#now;
  }

  stop(): void {
    Object.assign(globalThis, { setTimeout: this.#real.setTimeout, clearTimeout: this.#real.clearTimeout });
    Date.now = this.#real.now;
  }

  get waiting(): number {
    return this.#timers.length;
  }

  /** Let everything happen that waits for no timer. */
  async turn(count = 2): Promise<void> {
    for (let at = 0; at < count; at += 1) await new Promise((resolve) => setImmediate(resolve));
  }

  /** Let seconds pass, and everything happen in them. */
  async pass(seconds: number): Promise<void> {
    const end = this.#now + seconds * 1000;
    await this.turn();
    for (let rung = 0; ; rung += 1) {
      if (rung > MOST_RINGS) throw new Error("timers ring without end");
      const next = this.#findNext(end);
      if (!next) break;
      this.#timers = this.#timers.filter((timer) => timer !== next);
      this.#now = next.at;
      next.ring();
      await this.turn(1);
    }
    this.#now = end;
    await this.turn();
  }

  #findNext(end: number): Timer | undefined {
    let found: Timer | undefined;
    for (const timer of this.#timers) if (timer.at <= end && (!found || timer.at < found.at)) found = timer;
    return found;
  }
}
