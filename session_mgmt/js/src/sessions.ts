/** Calls about sessions, over HTTP. The code that makes the requests is loaded with the first call. */

import type { Credentials } from "./credentials";
import type { Emitter, Unsubscribe } from "./emitter";
import type { EventType, SessionEntry, SessionEvents } from "./events";
import { lendMethods, loadRequests } from "./loading";
import type { SessionRequests } from "./requests/index";
import type { Rest } from "./rest";
import type { Json } from "./values";

const LENT = [
  ...["createSession", "getSession", "updateSession", "terminateSession", "getActiveSessions", "list", "end"],
  ...["endOthers", "validateSession", "recoverSession", "getSessionMetrics", "getConnections"],
] as (keyof SessionRequests)[];

export interface Sessions extends Pick<SessionRequests, keyof SessionRequests> {}

export class Sessions {
  readonly #rest: Rest;
  readonly #credentials: Credentials;
  readonly #emitter: Emitter<SessionEvents>;
  readonly #ended: () => Promise<void>;

  static {
    lendMethods<Sessions, SessionRequests>(Sessions.prototype, LENT, (self) => self.#load());
  }

  /** `ended`: called when the session of this client has been terminated. */
  constructor(rest: Rest, credentials: Credentials, emitter: Emitter<SessionEvents>, ended: () => Promise<void>) {
    this.#ended = ended;
    this.#rest = rest;
    this.#credentials = credentials;
    this.#emitter = emitter;
  }

  /** Call `listener` for every event in the log of this session. */
  onSessionEvent(listener: (type: EventType, data: Json, entry: SessionEntry) => void): Unsubscribe {
    return this.#emitter.on("*", listener);
  }

  async #load(): Promise<SessionRequests> {
    // The session may change before the part is loaded.
    const { session_id: own } = this.#credentials.session;
    const { SessionRequests } = await loadRequests();
    return new SessionRequests(this.#rest, this.#credentials, own, this.#ended);
  }
}
