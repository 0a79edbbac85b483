/** Number of waiting writes, and reports about it. */

import type { Adoption } from "./adoption";
import type { Emitter } from "./emitter";
import type { SessionEvents } from "./events";
import type { ClientRecord } from "./record";
import type { Writer } from "./writer";

export interface PendingPort {
  readWriter(): Writer;
  readAdoption(): Adoption | null;
}

export class Pending {
  readonly #emitter: Emitter<SessionEvents>;
  readonly #record: ClientRecord;
  readonly #port: PendingPort;
  #isPlanned = false;

  constructor(emitter: Emitter<SessionEvents>, record: ClientRecord, port: PendingPort) {
    this.#emitter = emitter;
    this.#record = record;
    this.#port = port;
  }

  /** Number of writes without an answer, including those of closed tabs. */
  get count(): number {
    return this.#port.readWriter().outbox.size + this.#orphaned;
  }

  get #orphaned(): number {
    return this.#port.readAdoption()?.waiting ?? 0;
  }

  /** Report waiting writes, once for all changes of this turn. */
  planReport(): void {
    if (this.#isPlanned) return;
    this.#isPlanned = true;
    queueMicrotask(() => {
      this.#isPlanned = false;
      const { isDurable } = this.#record;
      this.#emitter.emit("pending", { count: this.count, orphaned: this.#orphaned, durable: isDurable });
    });
  }
}
