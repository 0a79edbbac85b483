/** Changes of the tab's session: other tokens, another session, or the end. */

import { OF_THE_PAGE } from "../beginning";
import type { Preparation } from "../connection";
import { maySucceed, nameProof, type Credentials, type Kept } from "../credentials";
import type { Entered } from "../entering";
import { SessionError, toFailure } from "../errors";
import type { StatusReason } from "../events";
import { LOGGED_OUT, normalizeUser, type Identity } from "../identity";
import { Neighbours } from "./neighbours";
import { Refresher, type AskSocket } from "./refreshing";
import { Renewal } from "./renewal";
import { returnAsNobody } from "./returning";

/** Other tokens, or another session. */
export interface Change {
  before: Kept | null;
  after: Kept;
  reason: string;
  /** Answer of the server; null if another tab received it. */
  entered: Entered | null;
}

export interface TurnsPort {
  askSocket: AskSocket;
  isConnected(): boolean;
  /** Return true unless the application has disconnected. */
  isWanted(): boolean;
  connect(): void;
  takeChange(change: Change): void;
  /** Handle the end of the session; `status` is the reason of the connection's status from now on. */
  takeEnd(reason: string, status: StatusReason): void;
}

/** Refusals of a refresh that end the session. */
const ENDS: ReadonlySet<string> = new Set(["session_terminated"]);
/** Reasons for the end of a user's session that may stand for a logout that the server was not told of. */
const MAY_BE_LOGOUT: ReadonlySet<string> = new Set([...ENDS, "login_ended"]);

export class Turns {
  readonly #identity: Identity;
  readonly #credentials: Credentials;
  readonly #port: TurnsPort;
  readonly #neighbours: Neighbours;
  readonly #refresher: Refresher;
  readonly #renewal: Renewal;
  /** Ends the attempts to come back after a logout. */
  #returning: AbortController | null = null;
  #isClosed = false;

  constructor(identity: Identity, port: TurnsPort) {
    const { env, rest, credentials, scope } = identity.parts;
    this.#identity = identity;
    this.#credentials = credentials;
    this.#port = port;
    const askSocket: AskSocket = async (frame) => {
      const answer = await port.askSocket(frame);
      // From now on the connection depends on the new token.
      if (answer) identity.used = answer.access;
      return answer;
    };
    this.#refresher = new Refresher(rest, credentials, askSocket);
    this.#renewal = new Renewal(env.clock, credentials, {
      isConnected: () => port.isConnected(),
      renew: () => identity.runAlone(() => this.#settle()),
      end: (failure) => this.#end(failure),
    });
    this.#neighbours = new Neighbours(env, scope, {
      look: () => this.look(),
      takeEnd: (session, reason, status) => {
        if (credentials.kept?.session.session_id === session) this.endSession(reason, status);
      },
    });
  }

  begin(): void {
    this.#renewal.begin();
    // Other tabs may have changed the storage before this part was loaded.
    this.look();
  }

  close(): void {
    this.#isClosed = true;
    this.#returning?.abort();
    this.#neighbours.close();
    this.#renewal.close();
  }

  /** Before a connection opens, make sure that the session and its tokens are valid; null if there is nothing to do. */
  settle(): Promise<Preparation> | null {
    return this.#identity.isSettled ? null : this.#settleForConnection();
  }

  /** Enter again after a login or logout without a page load. */
  async enterAgain(user: string | number | null | undefined): Promise<void> {
    this.#returning?.abort();
    this.#identity.user = normalizeUser(user);
    await this.#identity.runAlone(async () => {
      if (this.#credentials.kept) this.#followStorage("session_changed");
      await this.#enter("login");
    });
  }

  /** Look in the storage for changes by other tabs. */
  look(): void {
    if (!this.#credentials.kept || this.#isClosed) return;
    try {
      this.#followStorage("session_changed");
    } catch (error) {
      this.#end(error as SessionError);
    }
    if (this.#credentials.kept && this.#identity.isRefreshDue) this.#renewal.renewNow();
  }

  /** End the session of this tab, as another tab, the server or the application has said. */
  endSession(reason: string, status?: StatusReason): void {
    if (this.#credentials.kept) this.#end(SessionError.local(reason, `The session is over (${reason}): log in, then call \`login()\`.`), status);
  }

  /** Wait until no other tab enters or refreshes. */
  awaitOthers(): Promise<void> {
    return this.#identity.runAlone(async () => undefined);
  }

  /** Return true if another tab has stored a session that this tab may continue with. */
  hasSuccessor(): boolean {
    const [mine, stored] = [this.#credentials.kept, this.#credentials.readStored()];
    return mine !== null && stored !== null && nameProof(stored) !== nameProof(mine) && maySucceed(mine, stored);
  }

  async #settleForConnection(): Promise<Preparation> {
    try {
      await this.#identity.runAlone(() => this.#settle());
      return { repair: null };
    } catch (error) {
      const failure = toFailure(error);
      const reason = { code: 0, name: failure.name };
      // If the server has not answered, the status gives the reason, as for a socket that does not open.
      if (failure.code || !failure.temporary) this.#identity.parts.tell(failure);
      if (failure.temporary) return { repair: "reconnect", reason, retryAfter: failure.retryAfter };
      this.#end(failure);
      return { repair: "stop", reason };
    }
  }

  async #settle(): Promise<void> {
    const credentials = this.#credentials;
    if (credentials.kept && this.#followStorage(this.#identity.doubt ?? "session_changed")) this.#identity.doubt = null;
    if (credentials.kept && this.#identity.doubt === null && (await this.#refreshTokens(credentials.kept))) return;
    await this.#enter(this.#identity.doubt ?? "session_changed");
  }

  /** Refresh tokens that are due; return false if only entering can tell how to continue. */
  async #refreshTokens(kept: Kept): Promise<boolean> {
    if (!this.#identity.isRefreshDue) return true;
    if (kept.refresh === undefined) return false;
    try {
      const { login_changed: hasChanged } = await this.#refresher.refresh(kept, kept.refresh);
      this.#identity.isTokenOver = false;
      this.#renewal.plan();
      if (hasChanged) this.#identity.doubt = "login_changed";
      return !hasChanged;
    } catch (error) {
      const failure = toFailure(error);
      if (failure.temporary || ENDS.has(failure.name)) throw failure;
      this.#identity.doubt = failure.name;
      return false;
    }
  }

  async #enter(reason: string, user = this.#identity.user): Promise<void> {
    const before = this.#credentials.kept;
    const entered = await this.#identity.entrance.enter(before ?? this.#credentials.readStored(), { user, reason });
    this.#change({ before, after: this.#requireKept(), reason: entered.reason || reason, entered });
  }

  /**
   * Continue with what another tab has stored; return false if this tab has it already. Throws the end of the session
   * if the stored session is gone or belongs to another user.
   */
  #followStorage(reason: string): boolean {
    const before = this.#requireKept();
    const after = this.#credentials.readStored();
    if (!after || !maySucceed(before, after)) {
      throw SessionError.local(LOGGED_OUT, "Another tab has ended the session: log in, then call `login()`.");
    }
    if (nameProof(after) === nameProof(before)) return false;
    this.#credentials.adopt(after, true);
    const isNext = after.left?.session === before.session.session_id;
    this.#change({ before, after, reason: (isNext && after.left?.reason) || reason, entered: null });
    return true;
  }

  #change(change: Change): void {
    this.#identity.doubt = null;
    this.#identity.isTokenOver = this.#identity.isHidden = false;
    const { before, after } = change;
    this.#port.takeChange(change);
    const isSame = before?.session.session_id === after.session.session_id;
    if (isSame && after.from && after.from.token === before.refresh) void this.#refresher.tellConnection(after.from);
    this.#renewal.plan();
  }

  #end(error: SessionError, status: StatusReason = { code: 0, name: error.name }): void {
    const kept = this.#credentials.kept;
    this.#renewal.stop();
    this.#identity.doubt = null;
    if (kept && !OF_THE_PAGE.has(error.name)) {
      this.#identity.forget(kept, error.name);
      this.#neighbours.tellEnd(kept.session.session_id, error.name, status);
    }
    const isWanted = this.#port.isWanted();
    this.#port.takeEnd(error.name, status);
    this.#credentials.end();
    if (kept && mayReturn(kept, error.name) && isWanted && !this.#isClosed) void this.#returnAsNobody();
  }

  /** Come back without a user after a logout, if the server's settings want that. */
  async #returnAsNobody(): Promise<void> {
    const leaving = (this.#returning = new AbortController());
    const enter = (): Promise<void> =>
      this.#identity.runAlone(async () => {
        // A user may have logged in while this tab waited for the lock.
        leaving.signal.throwIfAborted();
        await this.#enter(LOGGED_OUT, null);
      });
    try {
      await returnAsNobody(this.#identity.parts.env, enter, leaving.signal);
      this.#identity.user = undefined;
      this.#port.connect();
    } catch (error) {
      if (!leaving.signal.aborted) this.#identity.parts.tell(toFailure(error));
    }
  }

  #requireKept(): Kept {
    if (!this.#credentials.kept) throw SessionError.local("auth_required", "There is no session: log in, then call `login()`.");
    return this.#credentials.kept;
  }
}

/** Return true if the end may come from a logout after which the page continues without a user; the server decides. */
function mayReturn({ onLogout, session }: Kept, reason: string): boolean {
  if (onLogout !== "anonymous") return false;
  // A visitor has no login that could end, so somebody ended a visitor's session on purpose.
  return reason === LOGGED_OUT || (session.user_id !== null && MAY_BE_LOGOUT.has(reason));
}
