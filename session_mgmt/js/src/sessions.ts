/** The session manager's calls, over HTTP (PROTOCOL section 13). Without an id they mean this client's own session. */

import type { Credentials, CreateOptions } from "./credentials";
import type { Emitter, Unsubscribe } from "./emitter";
import type { EventType, SessionEntry, SessionEvents } from "./events";
import type { SessionFields, SuccessorReceipt } from "./frames";
import { sessionInfo, type SessionInfo } from "./info";
import type { Rest } from "./rest";
import type { Json, JsonObject } from "./values";

export interface Validation {
  valid: boolean;
  /** Why not; null if valid. */
  reason: string | null;
}

export interface CreatedSession {
  session: SessionInfo;
  token: string;
}

export interface RecoveredSession extends CreatedSession {
  receipt: SuccessorReceipt | null;
}

export class Sessions {
  readonly #rest: Rest;
  readonly #credentials: Credentials;
  readonly #emitter: Emitter<SessionEvents>;
  readonly #ended: () => Promise<void>;

  /** `ended`: this client's own session is no more. */
  constructor(rest: Rest, credentials: Credentials, emitter: Emitter<SessionEvents>, ended: () => Promise<void>) {
    this.#ended = ended;
    this.#rest = rest;
    this.#credentials = credentials;
    this.#emitter = emitter;
  }

  /** A further session with the page's own login; this client stays with its own. */
  async createSession(options: CreateOptions = {}): Promise<CreatedSession> {
    const { body } = await this.#rest.request("POST", "sessions/", { body: options });
    return { session: sessionInfo(body.session), token: body.token };
  }

  async getSession(id = this.#own()): Promise<SessionInfo> {
    return sessionInfo(await this.#call("GET", id));
  }

  async updateSession(changes: CreateOptions, id = this.#own()): Promise<SessionInfo> {
    return sessionInfo(await this.#call("PATCH", id, "", changes));
  }

  async terminateSession(id = this.#own()): Promise<void> {
    await this.#call("DELETE", id);
    if (id === this.#own()) await this.#ended();
  }

  async getActiveSessions(): Promise<SessionInfo[]> {
    const { body } = await this.#rest.request("GET", "sessions/", { token: this.#credentials.token });
    return (body.results as SessionFields[]).map((fields) => sessionInfo(fields));
  }

  async validateSession(permission?: string, id = this.#own()): Promise<Validation> {
    return this.#call("POST", id, "validate/", permission === undefined ? {} : { permission });
  }

  /** Asks for the successor of an expired session, by its old token. */
  async recoverSession(id = this.#own(), options: JsonObject = {}, token?: string): Promise<RecoveredSession> {
    const body = await this.#call("POST", id, "recover/", options, token);
    return { session: sessionInfo(body.session), token: body.token, receipt: body.receipt ?? null };
  }

  async getSessionMetrics(id = this.#own()): Promise<JsonObject> {
    return this.#call("GET", id, "metrics/");
  }

  /** Every event of this session's log. */
  onSessionEvent(listener: (type: EventType, data: Json, entry: SessionEntry) => void): Unsubscribe {
    return this.#emitter.on("*", listener);
  }

  async #call(method: string, id: string, action = "", body?: unknown, token = this.#credentials.token): Promise<Json> {
    const path = `sessions/${encodeURIComponent(id)}/${action}`;
    return (await this.#rest.request(method, path, { body, token })).body;
  }

  #own(): string {
    return this.#credentials.session.session_id;
  }
}
