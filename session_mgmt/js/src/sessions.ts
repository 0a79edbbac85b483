/** Calls about sessions, over HTTP. The code that makes the requests is loaded with the first call. */

import type { Credentials } from "./credentials";
import type { Emitter, Unsubscribe } from "./emitter";
import type { EventType, SessionEntry, SessionEvents } from "./events";
import type { SuccessorReceipt } from "./frames";
import type { SessionInfo } from "./info";
import { lendMethods, loadRequests } from "./loading";
import type { SessionRequests } from "./requests/index";
import type { Rest } from "./rest";
import type { Latency } from "./stats";
import type { Json } from "./values";

export interface Validation {
  valid: boolean;
  /** Reason why the session is not valid; null if it is. */
  reason: string | null;
}

/** Connection as the server has recorded it. Times are ISO 8601, latencies are milliseconds. */
export interface ConnectionFigures {
  client_id: string;
  generation: number;
  transport: "websocket" | "sse" | "longpoll";
  state: "open" | "lost" | "closed";
  opened_at: string;
  closed_at: string | null;
  close_code: number | null;
  closed_by: string;
  latency: Latency;
  beats: { sent: number; missed: number };
  messages: { in: number; out: number };
  bytes: { in: number; out: number };
  /** Verdict of the recovery at its beginning; null if there was none. */
  recovery: "full" | "state_only" | "none" | null;
}

export interface CreatedSession {
  session: SessionInfo;
  token: string;
}

export interface RecoveredSession extends CreatedSession {
  receipt: SuccessorReceipt | null;
}

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
