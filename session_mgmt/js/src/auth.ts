/** Token of the session, for the page's own requests. */

import type { Credentials } from "./credentials";
import type { Emitter, Unsubscribe } from "./emitter";
import { SessionError } from "./errors";
import type { SessionEntry, SessionEvents } from "./events";
import type { Validation } from "./info";
import { loadRequests } from "./loading";
import type { NarrowedToken } from "./requests/tokens";
import type { Rest } from "./rest";
import type { Sessions } from "./sessions";
import type { Json } from "./values";

export class Auth {
  readonly #rest: Rest;
  readonly #credentials: Credentials;
  readonly #sessions: Sessions;
  readonly #emitter: Emitter<SessionEvents>;

  constructor(rest: Rest, credentials: Credentials, sessions: Sessions, emitter: Emitter<SessionEvents>) {
    this.#rest = rest;
    this.#credentials = credentials;
    this.#sessions = sessions;
    this.#emitter = emitter;
  }

  /** Bearer token. It is a secret, so send it in headers only. Throws `no_token` if a cookie proves the session. */
  get token(): string {
    const { token } = this.#credentials;
    if (token) return token;
    throw SessionError.local("no_token", "A cookie proves this session, and no script can read it: send `headers()`.");
  }

  /**
   * Return the headers that prove the session. If a cookie proves it, they are the CSRF token and the name of the
   * session.
   */
  headers(): Record<string, string> {
    return this.#rest.proveSession(this.#credentials.token);
  }

  /**
   * Request a token with only these scopes, for a frame or a worker that needs no more. It cannot be refreshed. Rejects
   * with `scope_missing` if the session lacks a scope, and with `no_token` if a cookie proves the session.
   */
  async narrow(scopes: readonly string[], options: { expiresIn?: number } = {}): Promise<NarrowedToken> {
    const { token } = this;
    return (await loadRequests()).narrowToken(this.#rest, token, scopes, options);
  }

  validate(permission?: string): Promise<Validation> {
    return this.#sessions.validateSession(permission);
  }

  /** Call `listener` when the token is no longer valid: let the user log in, then start again. */
  onAuthRequired(listener: (data: Json, entry: SessionEntry) => void): Unsubscribe {
    return this.#emitter.on("auth_required", listener);
  }
}
