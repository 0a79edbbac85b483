/** The session of a page that begins: the kept one, or what the server names. */

import { Backoff } from "./backoff";
import type { Credentials, Kept } from "./credentials";
import type { Entered, Entrance } from "./entering";
import type { Environment } from "./environment";
import { SessionError } from "./errors";
import { limitTime, pause } from "./pause";

/** How a start found its session. */
export interface Begun {
  before: Kept | null;
  entered: Entered | null;
}

interface Found extends Begun {
  /** Nothing of the kept session may be shown yet. */
  isHidden: boolean;
  /** The server need not be asked before the first connection. */
  isCertain: boolean;
}

export interface BeginningParts {
  env: Environment;
  user: string | null | undefined;
  whenOffline: "wait" | "kept";
  tell(error: SessionError): void;
  runAlone<T>(work: () => Promise<T>, signal?: AbortSignal): Promise<T>;
  /** Forget a session whose page may not begin. */
  forget(kept: Kept, reason: string): void;
}

/** Milliseconds after which tokens are asked for again. */
export const RENEW_AGAIN = 5_000;
/** Milliseconds for which a start waits for an answer, if there is a session that it can begin with. */
const PATIENCE = 8_000;
/** Refusals that say nothing about the session in storage: the page is not its user's. */
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

  /** Find the session. Throws what the server refuses, or the signal's reason. */
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
        // With nothing to lose, a wrong address is likelier than a portal, and must not wait in silence.
        if (!error.temporary || (error.name === "not_our_server" && !kept)) throw this.#refuseStart(error, kept);
        // A page that begins with its copy has nothing to report: its status says that it is not connected.
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
      // Another tab may have entered while this one waited for its turn.
      const before = this.#credentials.readStored();
      const entered = await this.#entrance.enter(before, { user, signal: call });
      return { before, entered, isHidden: false, isCertain: true };
    };
    const enter = (call?: AbortSignal): Promise<Found> => runAlone(() => begin(call), call);
    if (!isImpatient) return enter(signal);
    const late = SessionError.local("network_error", "No answer in time: try again.", true);
    return limitTime(env.clock, PATIENCE, enter, signal, late);
  }

  /** Forget the session of a page that may not begin, unless it is somebody else's than the page was made for. */
  #refuseStart(error: SessionError, kept: Kept | null): SessionError {
    if (kept && !OF_THE_PAGE.has(error.name)) this.#parts.forget(kept, error.name);
    return error;
  }
}
