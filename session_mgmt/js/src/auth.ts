/** Access to the session's token, for requests of the page's own. */

import type { Credentials } from "./credentials";
import type { Emitter, Unsubscribe } from "./emitter";
import { SessionError } from "./errors";
import type { SessionEntry, SessionEvents } from "./events";
import { loadRequests } from "./loading";
import type { Rest } from "./rest";
import type { Sessions, Validation } from "./sessions";
import type { Json } from "./values";

/** Token that may do less than its session. */
export interface NarrowedToken {
  token: string;
  /** Seconds from now on. */
  expiresIn: number;
  scopes: string[];
}

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

  /** Bearer token: a secret, for headers only. Throws `no_token` where a cookie proves the session. */
  get token(): string {
    const { token } = this.#credentials;
    if (token) return token;
    throw SessionError.local("no_token", "A cookie proves this session, and no script can read it: send `headers()`.");
  }

  /** Return the headers that prove the session, or that go beside its cookie: the token against forgery, and its name. */
  headers(): Record<string, string> {
    return this.#rest.proveSession(this.#credentials.token);
  }

  /**
   * Ask for a token with these scopes only, for a frame or a worker that should do no more. It cannot be refreshed.
   * Rejects with `scope_missing` if the session lacks one, and with `no_token` where pages are given none.
   */
  async narrow(scopes: readonly string[], options: { expiresIn?: number } = {}): Promise<NarrowedToken> {
    const { token } = this;
    return (await loadRequests()).narrowToken(this.#rest, token, scopes, options);
  }

  validate(permission?: string): Promise<Validation> {
    return this.#sessions.validateSession(permission);
  }

  /** Call back when the token is no good any more: let the user log in, then start again. */
  onAuthRequired(listener: (data: Json, entry: SessionEntry) => void): Unsubscribe {
    return this.#emitter.on("auth_required", listener);
  }
}
