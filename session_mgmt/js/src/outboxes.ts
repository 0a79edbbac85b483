/** What outlives the tabs of this browser: their outboxes, and who sends those of closed ones. Loaded with each start. */

import { Adoption, type AdoptionPort } from "./adoption";
import type { Environment } from "./environment";
import { Mirror } from "./mirror";
import { OutboxStore, type ClientRow } from "./outboxStore";

export { removeRecords } from "./forgetting";

export class Outboxes {
  readonly store: OutboxStore;
  readonly #env: Environment;

  private constructor(env: Environment, store: OutboxStore) {
    this.#env = env;
    this.store = store;
  }

  /** Open the outboxes; rejects if the browser keeps nothing. */
  static async open(env: Environment): Promise<Outboxes> {
    return new Outboxes(env, await OutboxStore.open(env));
  }

  /** Return the copy of a tab's outbox, which `describe` names; `tellStored` is called when it has caught up. */
  newMirror(describe: () => ClientRow, tellStored: () => void): Mirror {
    return new Mirror(this.#env.clock, this.store, describe, tellStored);
  }

  newAdoption(port: AdoptionPort): Adoption {
    return new Adoption(this.#env, this, port);
  }
}
