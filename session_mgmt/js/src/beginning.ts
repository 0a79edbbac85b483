/** Session of a page at its start: the kept one, or the one that the server names. */

import { Backoff } from "./backoff";
import type { Credentials, Kept } from "./credentials";
import type { Entered, Entrance } from "./entering";
import type { Environment } from "./environment";
import { SessionError } from "./errors";
import { limitTime, pause } from "./pause";

/** Result of the search for the session of a page. */
export interface Begun {
  before: Kept | null;
  entered: Entered | null;
}

interface Found extends Begun {
  /** True if nothing of the kept session may be shown yet. */
  isHidden: boolean;
  /** True if the client may connect before it has asked the server. */
  isCertain: boolean;
}

export interface BeginningParts {
  env: Environment;
  user: string | null | undefined;
  whenOffline: "wait" | "kept";
  tell(error: SessionError): void;
  runAlone<T>(work: () => Promise<T>, signal?: AbortSignal): Promise<T>;
  /** Forget a session that the page may not use. */
  forget(kept: Kept, reason: string): void;
}

/** Milliseconds before the client asks for tokens again. */
export const RENEW_AGAIN = 5_000;
/** Milliseconds that a start waits for an answer, if it has a session that it can begin with. */
const PATIENCE = 8_000;
/** Refusals of this page that tell nothing about the kept session, because the page is not its user's. */
export const OF_THE_PAGE: ReadonlySet<string> = new Set(["login_mismatch", "wrong_token_mode", "invalid_option"]);

export class Beginning {
  readonly #entrance: Entrance;
  readonly #credentials: Credentials;
  readonly #parts: BeginningParts;

  constructor(entrance: Entrance, credentials: Credentials, parts: BeginningParts) {
    this.#entrance = entrance;
    this.#credentials = credentials;
    this.#parts = parts;
  }

  /** Find the session. Throws the refusal of the server, or the reason of the signal. */
  async begin(signal?: AbortSignal): Promise<Found> {
    const { env, user, whenOffline, tell } = this.#parts;
    const kept = this.#credentials.readStored();
    const isExpected = kept !== null && user !== undefined && kept.session.user_id === user;
    const mayBegin = kept !== null && (user === undefined || isExpected);
    if (kept && isExpected && this.#credentials.isFresh(kept)) return this.#beginWith(kept, true, false);
    const isVisible = isExpected || kept?.session.user_id === null || whenOffline === "kept";
    if (kept && mayBegin && whenOffline === "kept") return this.#beginWith(kept, false, false);
    const backoff = new Backoff(env.random);
    for (;;) {
      try {
        return await this.#beginByServer(mayBegin, signal);
      } catch (error) {
        if (!(error instanceof SessionError)) throw error;
        // Without a kept session nothing is lost, and a wrong address is more likely than a portal: report it at once.
        if (!error.temporary || (error.name === "not_our_server" && !kept)) throw this.#refuseStart(error, kept);
        // A page that begins with its local copy reports nothing; its status shows that it is not connected.
        if (kept && mayBegin) return this.#beginWith(kept, false, !isVisible);
        tell(error);
        await pause(env.clock, backoff.nextWait(error.retryAfter ?? 0) ?? RENEW_AGAIN, signal);
      }
    }
  }

  #beginWith(kept: Kept, isCertain: boolean, isHidden: boolean): Found {
    this.#credentials.adopt(kept, isCertain);
    return { before: kept, entered: null, isHidden, isCertain };
  }

  async #beginByServer(isImpatient: boolean, signal?: AbortSignal): Promise<Found> {
    const { env, user, runAlone } = this.#parts;
    const begin = async (call?: AbortSignal): Promise<Found> => {
      // Another tab may have entered while this one waited for the lock.
      const before = this.#credentials.readStored();
      const entered = await this.#entrance.enter(before, { user, signal: call });
      return { before, entered, isHidden: false, isCertain: true };
    };
    const enter = (call?: AbortSignal): Promise<Found> => runAlone(() => begin(call), call);
    if (!isImpatient) return enter(signal);
    const late = SessionError.local("network_error", "No answer in time: try again.", true);
    return limitTime(env.clock, PATIENCE, enter, signal, late);
  }

  /** Forget the kept session when the page may not begin, unless the session belongs to another user than the page. */
  #refuseStart(error: SessionError, kept: Kept | null): SessionError {
    if (kept && !OF_THE_PAGE.has(error.name)) this.#parts.forget(kept, error.name);
    return error;
  }
}
