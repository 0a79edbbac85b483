/** Changes during the life of a client: repairs of its name, another session, and the end. Loaded with the start. */

import { askForReply } from "../asking";
import type { Preparation, Repair } from "../connection";
import { LOGGED_OUT } from "../identity";
import type { Ending } from "../transport";
import { leaveSession } from "./leaving";
import type { ChangedLife } from "./parts";
import { Repairs } from "./repairs";
import { Turns, type Change } from "./turns";

export class Changes {
  readonly #life: ChangedLife;
  readonly #turns: Turns;
  readonly #repairs: Repairs;

  constructor(life: ChangedLife) {
    const { connection, env, handshake, identity } = life.parts;
    this.#life = life;
    this.#turns = new Turns(identity, {
      askSocket: (frame) => askForReply(connection, env.clock, frame),
      isConnected: () => connection.connected,
      isWanted: () => connection.status !== "disconnected",
      connect: () => void connection.connect(),
      takeChange: (change) => this.#takeChange(change),
      takeEnd: (reason, status) => {
        handshake.forgetSession();
        this.#repairs.takeEnd(reason, status);
        connection.fail(status);
      },
    });
    this.#repairs = new Repairs(life, this.#turns);
  }

  begin(): void {
    this.#turns.begin();
  }

  close(): void {
    this.#turns.close();
  }

  /** Look in the storage for changes by other tabs. */
  look(): void {
    this.#turns.look();
  }

  repairAfter(ending: Ending, wasReady: boolean): Repair | Promise<Repair> {
    return this.#repairs.repairAfter(ending, wasReady);
  }

  /** Open the record again if the page has released it; null if there is nothing to wait for. */
  takeUp(): Promise<void> | null {
    return this.#repairs.takeUp();
  }

  /** Before a connection, decide which writes and which session this tab has. */
  prepare(): Promise<Preparation> | null {
    this.look();
    const taken = this.takeUp();
    return taken ? taken.then(() => this.#turns.settle() ?? { repair: null }) : this.#turns.settle();
  }

  /** Enter again after a login or logout without a page load. */
  enterAgain(user: string | number | null | undefined): Promise<void> {
    return this.#turns.enterAgain(user);
  }

  /** Send waiting writes for at most 2 s, then end the session. Never rejects. */
  leave(): Promise<void> {
    const { env, rest, credentials, connection, writer } = this.#life.parts;
    return leaveSession(env.clock, rest, credentials, {
      flush: () => writer.flush(),
      isSending: () => connection.connected && writer.outbox.size > 0,
      end: () => this.#turns.endSession(LOGGED_OUT),
    });
  }

  #takeChange(change: Change): void {
    this.#repairs.takeChange(change);
    if (change.before?.session.session_id === change.after.session.session_id) return;
    const { connection, handshake } = this.#life.parts;
    handshake.forgetSession();
    // The present connection belongs to the old session.
    connection.leaveSession();
  }
}
