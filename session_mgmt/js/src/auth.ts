/** Access to the session's token, for requests of the page's own. */

import type { Credentials } from "./credentials";
import type { Emitter, Unsubscribe } from "./emitter";
import type { SessionEntry, SessionEvents } from "./events";
import type { Sessions, Validation } from "./sessions";
import type { Json } from "./values";

export class Auth {
  readonly #credentials: Credentials;
  readonly #sessions: Sessions;
  readonly #emitter: Emitter<SessionEvents>;

  constructor(credentials: Credentials, sessions: Sessions, emitter: Emitter<SessionEvents>) {
    this.#credentials = credentials;
    this.#sessions = sessions;
    this.#emitter = emitter;
  }

  /** Bearer token: a secret, for headers only. */
  get token(): string {
    return this.#credentials.token;
  }

  headers(): { Authorization: string } {
    return { Authorization: `Bearer ${this.token}` };
  }

  validate(permission?: string): Promise<Validation> {
    return this.#sessions.validateSession(permission);
  }

  /** Call back when the token is no good any more: let the user log in, then start again. */
  onAuthRequired(listener: (data: Json, entry: SessionEntry) => void): Unsubscribe {
    return this.#emitter.on("auth_required", listener);
  }
}
