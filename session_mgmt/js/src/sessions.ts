/** Calls about sessions, over HTTP; what makes them is loaded at the first one. */

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
  /** Why not; null if valid. */
  reason: string | null;
}

/** Connection as the server keeps it; times are ISO 8601, latencies milliseconds. */
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
  /** Verdict of the recovery with which it began, if there was one. */
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

  /** `ended`: this client's own session is no more. */
  constructor(rest: Rest, credentials: Credentials, emitter: Emitter<SessionEvents>, ended: () => Promise<void>) {
    this.#ended = ended;
    this.#rest = rest;
    this.#credentials = credentials;
    this.#emitter = emitter;
  }

  /** Call back for every event of this session's log. */
  onSessionEvent(listener: (type: EventType, data: Json, entry: SessionEntry) => void): Unsubscribe {
    return this.#emitter.on("*", listener);
  }

  async #load(): Promise<SessionRequests> {
    // The session may be another one by the time that the part is here.
    const { session_id: own } = this.#credentials.session;
    const { SessionRequests } = await loadRequests();
    return new SessionRequests(this.#rest, this.#credentials, own, this.#ended);
  }
}
