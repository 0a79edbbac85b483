/** Digests of what updates replace; what makes them is loaded. An update goes without, and has them as soon as it can. */

import type { SessionError } from "./errors";
import type { UpdateFrame } from "./frames";
import { loadDigests } from "./loading";
import { operationsOf } from "./merge";
import type { Write } from "./outbox";
import type { Json } from "./values";

export interface DigestingPort {
  /** List the writes that wait. */
  readWrites(): readonly Write[];
  /** Store a write that has its digests only now. */
  storeWrite(write: Write): void;
  tellError(error: SessionError): void;
}

export class Digesting {
  readonly #port: DigestingPort;
  #part: Awaited<ReturnType<typeof loadDigests>> | null = null;
  #isLoading = false;
  #isTold = false;
  /** What each update without digests was made on. */
  readonly #views = new WeakMap<object, Json>();

  constructor(port: DigestingPort) {
    this.#port = port;
  }

  /** Add to an update the digests of what it replaces in `view`, now or once they can be made. */
  addDigests(frame: UpdateFrame, view: Json): void {
    if (this.#part) frame.replaced = this.#part.digestReplaced(view, operationsOf(frame));
    else {
      this.#views.set(frame, view);
      void this.load();
    }
  }

  /** Load what makes digests, unless it is there. An error is told once; the next update loads it again. */
  async load(): Promise<void> {
    if (this.#part || this.#isLoading) return;
    this.#isLoading = true;
    try {
      this.#part = await loadDigests();
      for (const write of this.#port.readWrites()) {
        const { frame } = write;
        if (frame.type !== "update" || !this.#views.has(frame)) continue;
        this.addDigests(frame, this.#views.get(frame));
        this.#port.storeWrite(write);
      }
    } catch (error) {
      if (!this.#isTold) this.#port.tellError(error as SessionError);
      this.#isTold = true;
    }
    this.#isLoading = false;
  }
}
