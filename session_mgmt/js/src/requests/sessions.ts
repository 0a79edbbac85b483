/** Requests about sessions (PROTOCOL section 13). Without an id they are about this client's own session. */

import { encodePart } from "../addresses";
import type { Credentials } from "../credentials";
import type { Device } from "../devices";
import type { SessionFields } from "../frames";
import { toSessionInfo, type SessionInfo, type ConnectionFigures, type CreatedSession } from "../info";
import { type RecoveredSession, type Validation } from "../info";
import type { CreateOptions } from "../options";
import type { Rest } from "../rest";
import type { Json, JsonObject } from "../values";
import { toCamelCases } from "./answers";

export class SessionRequests {
  readonly #rest: Rest;
  readonly #credentials: Credentials;
  readonly #own: string;
  readonly #ended: () => Promise<void>;

  /** `own`: session of the client at the time of the call. `ended`: called when that session was terminated. */
  constructor(rest: Rest, credentials: Credentials, own: string, ended: () => Promise<void>) {
    this.#rest = rest;
    this.#credentials = credentials;
    this.#own = own;
    this.#ended = ended;
  }

  /** Create another session with the page's own login. This client keeps its own session. */
  async createSession(options: CreateOptions = {}): Promise<CreatedSession> {
    const { body } = await this.#rest.sendRequest("POST", "sessions/", { body: options });
    return { session: toSessionInfo(body.session), token: body.token };
  }

  async getSession(id = this.#own): Promise<SessionInfo> {
    return toSessionInfo(await this.#callSession("GET", id));
  }

  async updateSession(changes: CreateOptions, id = this.#own): Promise<SessionInfo> {
    return toSessionInfo(await this.#callSession("PATCH", id, "", changes));
  }

  async terminateSession(id = this.#own): Promise<void> {
    await this.#callSession("DELETE", id);
    if (id === this.#credentials.session.session_id) await this.#ended();
  }

  async getActiveSessions(): Promise<SessionInfo[]> {
    const { body } = await this.#rest.sendRequest("GET", "sessions/", { token: this.#credentials.token });
    return (body.results as SessionFields[]).map((fields) => toSessionInfo(fields));
  }

  /** List the devices of the user: this one first, then by last use, newest first. */
  async list(): Promise<Device[]> {
    return toCamelCases((await this.#callDevices("GET")).results);
  }

  /** Log a device out: end its session and its login. Rejects with `reauth_required` if the own login is too old. */
  async end(id: string): Promise<void> {
    await this.#callDevices("DELETE", `${encodePart(id, "the id of a session")}/`);
  }

  /** Log out all other devices of the user. Resolves with their number. */
  async endOthers(): Promise<number> {
    return (await this.#callDevices("DELETE")).ended;
  }

  async validateSession(permission?: string, id = this.#own): Promise<Validation> {
    return this.#callSession("POST", id, "validate/", permission === undefined ? {} : { permission });
  }

  /** Create the successor of an expired session, by the old token. */
  async recoverSession(id = this.#own, options: JsonObject = {}, token?: string): Promise<RecoveredSession> {
    const body = await this.#callSession("POST", id, "recover/", options, token);
    return { session: toSessionInfo(body.session), token: body.token, receipt: body.receipt ?? null };
  }

  async getSessionMetrics(id = this.#own): Promise<JsonObject> {
    return this.#callSession("GET", id, "metrics/");
  }

  /** List the newest hundred connections with figures, as the server last stored them. */
  async getConnections(id = this.#own): Promise<ConnectionFigures[]> {
    return (await this.#callSession("GET", id, "connections/")).results;
  }

  async #callSession(
    method: string,
    id: string,
    action = "",
    body?: unknown,
    token = this.#credentials.token,
  ): Promise<Json> {
    const path = `sessions/${encodePart(id, "the id of a session")}/${action}`;
    return (await this.#rest.sendRequest(method, path, { body, token })).body;
  }

  async #callDevices(method: string, rest = ""): Promise<Json> {
    return (await this.#rest.sendRequest(method, `devices/${rest}`, { token: this.#credentials.token })).body;
  }
}
