/** Calls about sessions, over HTTP (PROTOCOL section 13). Without an id they concern this client's own session. */

import type { Credentials } from "./credentials";
import { toDevice, type Device, type DeviceFields } from "./devices";
import type { Emitter, Unsubscribe } from "./emitter";
import type { EventType, SessionEntry, SessionEvents } from "./events";
import type { SessionFields, SuccessorReceipt } from "./frames";
import { toSessionInfo, type SessionInfo } from "./info";
import type { CreateOptions } from "./options";
import type { Rest } from "./rest";
import type { Json, JsonObject } from "./values";

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
  latency: { last_ms: number | null; average_ms: number | null; p95_ms: number | null; jitter_ms: number | null };
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

  /** Create another session with the page's own login; this client stays with its own. */
  async createSession(options: CreateOptions = {}): Promise<CreatedSession> {
    const { body } = await this.#rest.sendRequest("POST", "sessions/", { body: options });
    return { session: toSessionInfo(body.session), token: body.token };
  }

  async getSession(id = this.#ownId()): Promise<SessionInfo> {
    return toSessionInfo(await this.#callSession("GET", id));
  }

  async updateSession(changes: CreateOptions, id = this.#ownId()): Promise<SessionInfo> {
    return toSessionInfo(await this.#callSession("PATCH", id, "", changes));
  }

  async terminateSession(id = this.#ownId()): Promise<void> {
    await this.#callSession("DELETE", id);
    if (id === this.#ownId()) await this.#ended();
  }

  async getActiveSessions(): Promise<SessionInfo[]> {
    const { body } = await this.#rest.sendRequest("GET", "sessions/", { token: this.#credentials.token });
    return (body.results as SessionFields[]).map((fields) => toSessionInfo(fields));
  }

  /** List the user's devices: this one first, then the one seen last. */
  async list(): Promise<Device[]> {
    return ((await this.#callDevices("GET")).results as DeviceFields[]).map(toDevice);
  }

  /** Log a device out: end its session and its login. Rejects with `reauth_required` if the own login is old. */
  async end(id: string): Promise<void> {
    await this.#callDevices("DELETE", `${encodeURIComponent(id)}/`);
  }

  /** Log out all devices of the user but this one; resolves with their number. */
  async endOthers(): Promise<number> {
    return (await this.#callDevices("DELETE")).ended;
  }

  async validateSession(permission?: string, id = this.#ownId()): Promise<Validation> {
    return this.#callSession("POST", id, "validate/", permission === undefined ? {} : { permission });
  }

  /** Ask for the successor of an expired session, by its old token. */
  async recoverSession(id = this.#ownId(), options: JsonObject = {}, token?: string): Promise<RecoveredSession> {
    const body = await this.#callSession("POST", id, "recover/", options, token);
    return { session: toSessionInfo(body.session), token: body.token, receipt: body.receipt ?? null };
  }

  async getSessionMetrics(id = this.#ownId()): Promise<JsonObject> {
    return this.#callSession("GET", id, "metrics/");
  }

  /** List the newest hundred connections with their figures, as of the server's last flush. */
  async getConnections(id = this.#ownId()): Promise<ConnectionFigures[]> {
    return (await this.#callSession("GET", id, "connections/")).results;
  }

  /** Call back for every event of this session's log. */
  onSessionEvent(listener: (type: EventType, data: Json, entry: SessionEntry) => void): Unsubscribe {
    return this.#emitter.on("*", listener);
  }

  async #callSession(
    method: string,
    id: string,
    action = "",
    body?: unknown,
    token = this.#credentials.token,
  ): Promise<Json> {
    const path = `sessions/${encodeURIComponent(id)}/${action}`;
    return (await this.#rest.sendRequest(method, path, { body, token })).body;
  }

  async #callDevices(method: string, rest = ""): Promise<Json> {
    return (await this.#rest.sendRequest(method, `devices/${rest}`, { token: this.#credentials.token })).body;
  }

  #ownId(): string {
    return this.#credentials.session.session_id;
  }
}
