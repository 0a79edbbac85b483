/**
 * Whose session this tab has. One tab at a time enters or refreshes, under a lock; the others find in storage what it
 * got. Before a connection opens, everything about the session is settled.
 */

import { Beginning, OF_THE_PAGE, type Begun } from "./beginning";
import type { Preparation } from "./connection";
import { maySucceed, nameProof, type Credentials, type Kept } from "./credentials";
import { Entrance, type Entered } from "./entering";
import type { Environment } from "./environment";
import { SessionError, toFailure } from "./errors";
import { runExclusively } from "./lock";
import type { StatusReason } from "./events";
import type { StartOptions } from "./options";
import { Refresher, type AskSocket } from "./refreshing";
import { Renewal } from "./renewal";
import type { Rest } from "./rest";
import { returnAsNobody } from "./returning";
import { Neighbours } from "./neighbours";

/** The tab goes on with other tokens, or with another session. */
export interface Change {
  before: Kept | null;
  after: Kept;
  reason: string;
  /** Answer of the server; null if another tab had it. */
  entered: Entered | null;
}

export interface IdentityPort {
  askSocket: AskSocket;
  isConnected(): boolean;
  /** Return true unless the application stays away. */
  isWanted(): boolean;
  connect(): void;
  takeChange(change: Change): void;
  /** Take the end of the session; `status` is that of the connection from now on. */
  takeEnd(reason: string, status: StatusReason): void;
}

export interface IdentityParts {
  env: Environment;
  rest: Rest;
  credentials: Credentials;
  scope: string;
  /** Report an error to the application. */
  tell(error: SessionError): void;
}

const [START, TOKEN_EXPIRED] = ["start", "token_expired"] as const;
export const LOGGED_OUT = "logged_out";
/** Refusals of a refresh that end the session. */
const ENDS: ReadonlySet<string> = new Set(["session_terminated"]);
/** Ends of a user's session without a reason: a server that was not told of the logout gives none. */
const MAY_BE_LOGOUT: ReadonlySet<string> = new Set([...ENDS, "login_ended"]);

export class Identity {
  /** True if nothing of the kept session may be shown yet. */
  isHidden = false;
  readonly #env: Environment;
  readonly #credentials: Credentials;
  readonly #scope: string;
  readonly #tell: (error: SessionError) => void;
  readonly #entrance: Entrance;
  readonly #refresher: Refresher;
  readonly #whenOffline: "wait" | "kept";
  #user: string | null | undefined;
  #port: IdentityPort | null = null;
  #neighbours: Neighbours | null = null;
  /** Why the server must be asked before this tab connects again. */
  #doubt: string | null = null;
  /** The server has refused the access token for its age, whatever the clock says. */
  #isTokenOver = false;
  /** Name of the proof that the last connection lives by. */
  #used: string | null = null;
  readonly #renewal: Renewal;
  /** Ends the attempts to come back after a logout. */
  #returning: AbortController | null = null;
  #isClosed = false;

  constructor({ env, rest, credentials, scope, tell }: IdentityParts, options: StartOptions) {
    this.#env = env;
    this.#credentials = credentials;
    this.#scope = scope;
    this.#tell = tell;
    this.#user = normalizeUser(options.user);
    this.#whenOffline = options.whenOffline ?? "wait";
    this.#entrance = new Entrance(env, rest, credentials, options);
    const askSocket: AskSocket = async (frame) => {
      const answer = (await this.#port?.askSocket(frame)) ?? null;
      // From now on the connection lives by what it was given.
      if (answer) this.#used = answer.access;
      return answer;
    };
    this.#refresher = new Refresher(rest, credentials, askSocket);
    this.#renewal = new Renewal(env.clock, credentials, {
      isConnected: () => this.#port?.isConnected() ?? false,
      renew: () => this.#exclusively(() => this.#settle()),
      end: (failure) => this.#end(failure),
    });
  }

  /** Find the session of a page that begins. Throws what the server refuses, or the signal's reason. */
  async begin(signal?: AbortSignal): Promise<Begun> {
    const beginning = new Beginning(this.#entrance, this.#credentials, {
      env: this.#env,
      user: this.#user,
      whenOffline: this.#whenOffline,
      tell: this.#tell,
      runAlone: (work, ending) => this.#exclusively(work, ending),
      forget: (kept, reason) => this.#forget(kept, reason),
    });
    const { isHidden, isCertain, ...begun } = await beginning.begin(signal);
    this.isHidden = isHidden;
    if (!isCertain) this.#doubt = START;
    return begun;
  }

  /** Serve a client from now on. */
  attach(port: IdentityPort): void {
    this.#port = port;
    this.#neighbours = new Neighbours(this.#env, this.#scope, {
      look: () => this.look(),
      takeEnd: (session, reason) => {
        if (this.#credentials.kept?.session.session_id === session) this.endSession(reason);
      },
    });
    this.#renewal.begin();
  }

  close(): void {
    this.#isClosed = true;
    this.#returning?.abort();
    this.#neighbours?.close();
    this.#renewal.close();
  }

  /** Note the proof that a connection begins with, and return its token: empty where a cookie goes with it. */
  useToken(): string {
    const { kept, token } = this.#credentials;
    this.#used = kept && nameProof(kept);
    return token;
  }

  /** Ask the server before the next connection, unless this tab has newer tokens already. */
  doubtSession(reason: string): void {
    const { kept } = this.#credentials;
    // Another tab may have got newer ones while this one's connection was on its way to be refused.
    if (this.#used !== null && this.#used !== (kept && nameProof(kept))) return;
    if (reason === TOKEN_EXPIRED && kept?.turn === undefined) this.#isTokenOver = true;
    else this.#doubt = reason;
  }

  /** Make sure of the session and its tokens before a connection opens; null if nothing is to be done. */
  settle(): Promise<Preparation> | null {
    const { kept, isVerified } = this.#credentials;
    const isSettled = this.#doubt === null && kept !== null && isVerified && !this.#isRefreshDue();
    return isSettled ? null : this.#settleForConnection();
  }

  /** Enter again because somebody has logged in, or out, without a new page. */
  async enterAgain(user: string | number | null | undefined): Promise<void> {
    this.#returning?.abort();
    this.#user = normalizeUser(user);
    await this.#exclusively(async () => {
      if (this.#credentials.kept) this.#followStorage("session_changed");
      await this.#enter("login");
    });
  }

  /** Look at storage for what other tabs have done. */
  look(): void {
    if (!this.#credentials.kept || this.#isClosed) return;
    try {
      this.#followStorage("session_changed");
    } catch (error) {
      this.#end(error as SessionError);
    }
    if (this.#credentials.kept && this.#isRefreshDue()) this.#renewal.renewNow();
  }

  /** End this tab's session: another tab, the server or the application says so. */
  endSession(reason: string, status?: StatusReason): void {
    if (this.#credentials.kept) this.#end(SessionError.local(reason, `The session is over: ${reason}.`), status);
  }

  /** Wait until no other tab enters or refreshes. */
  awaitOthers(): Promise<void> {
    return this.#exclusively(async () => undefined);
  }

  /** Return true if another tab has stored a session that this tab may go on with. */
  hasSuccessor(): boolean {
    const [mine, stored] = [this.#credentials.kept, this.#credentials.readStored()];
    return mine !== null && stored !== null && nameProof(stored) !== nameProof(mine) && maySucceed(mine, stored);
  }

  #exclusively<T>(work: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    return runExclusively(this.#env, `${this.#scope}identity`, work, signal);
  }

  async #settleForConnection(): Promise<Preparation> {
    try {
      await this.#exclusively(() => this.#settle());
      return { repair: null };
    } catch (error) {
      const failure = toFailure(error);
      const reason = { code: 0, name: failure.name };
      // The status gives the reason where our server has not answered, as for a socket that does not open.
      if (failure.code || !failure.temporary) this.#tell(failure);
      if (failure.temporary) return { repair: "reconnect", reason, retryAfter: failure.retryAfter };
      this.#end(failure);
      return { repair: "stop", reason };
    }
  }

  async #settle(): Promise<void> {
    const credentials = this.#credentials;
    if (credentials.kept && this.#followStorage(this.#doubt ?? "session_changed")) this.#doubt = null;
    if (credentials.kept && this.#doubt === null && (await this.#refreshTokens(credentials.kept))) return;
    await this.#enter(this.#doubt ?? "session_changed");
  }

  /** Refresh what is due; return false if only the server can tell what goes on. */
  async #refreshTokens(kept: Kept): Promise<boolean> {
    if (!this.#isRefreshDue()) return true;
    if (kept.refresh === undefined) return false;
    try {
      const { login_changed: hasChanged } = await this.#refresher.refresh(kept, kept.refresh);
      this.#isTokenOver = false;
      this.#renewal.plan();
      if (hasChanged) this.#doubt = "login_changed";
      return !hasChanged;
    } catch (error) {
      const failure = toFailure(error);
      if (failure.temporary || ENDS.has(failure.name)) throw failure;
      this.#doubt = failure.name;
      return false;
    }
  }

  async #enter(reason: string, user = this.#user): Promise<void> {
    const before = this.#credentials.kept;
    const entered = await this.#entrance.enter(before ?? this.#credentials.readStored(), { user });
    this.#change({ before, after: this.#requireKept(), reason: entered.reason || reason, entered });
  }

  /**
   * Go on with what another tab has stored; return false if it is what this tab has. Throws the end of the session if
   * it is gone, or if another person's is there.
   */
  #followStorage(reason: string): boolean {
    const before = this.#requireKept();
    const after = this.#credentials.readStored();
    if (!after || !maySucceed(before, after)) {
      throw SessionError.local(LOGGED_OUT, "Another tab has ended the session.");
    }
    if (nameProof(after) === nameProof(before)) return false;
    this.#credentials.adopt(after, true);
    this.#change({ before, after, reason, entered: null });
    return true;
  }

  #change(change: Change): void {
    this.#doubt = null;
    this.#isTokenOver = this.isHidden = false;
    const { before, after } = change;
    this.#port?.takeChange(change);
    const isSame = before?.session.session_id === after.session.session_id;
    if (isSame && after.from && after.from.token === before.refresh) void this.#refresher.tellConnection(after.from);
    this.#renewal.plan();
  }

  #end(error: SessionError, status: StatusReason = { code: 0, name: error.name }): void {
    const kept = this.#credentials.kept;
    this.#renewal.stop();
    this.#doubt = null;
    if (kept && !OF_THE_PAGE.has(error.name)) {
      this.#forget(kept, error.name);
      this.#neighbours?.tellEnd(kept.session.session_id, error.name);
    }
    const isWanted = this.#port?.isWanted() ?? false;
    this.#port?.takeEnd(error.name, status);
    this.#credentials.end();
    if (kept && mayReturn(kept, error.name) && isWanted && !this.#isClosed) void this.#returnAsNobody();
  }

  #forget(kept: Kept, reason: string): void {
    this.#credentials.forgetStored();
    // The login is gone, not the person: the next login brings the state back.
    if (reason === LOGGED_OUT) this.#credentials.previous = null;
    else if (reason === "auth_required") this.#credentials.previous = kept.session.user_id && kept.session.session_id;
  }

  /** Come back as nobody, if the server wants that, once the person has logged out. */
  async #returnAsNobody(): Promise<void> {
    const leaving = (this.#returning = new AbortController());
    const enter = (): Promise<void> =>
      this.#exclusively(async () => {
        // Somebody may have logged in while this waited for its turn.
        leaving.signal.throwIfAborted();
        await this.#enter(LOGGED_OUT, null);
      });
    try {
      await returnAsNobody(this.#env, enter, leaving.signal);
      this.#user = undefined;
      this.#port?.connect();
    } catch (error) {
      if (!leaving.signal.aborted) this.#tell(toFailure(error));
    }
  }

  #isRefreshDue(): boolean {
    return this.#isTokenOver || this.#credentials.findDueIn() <= 0;
  }

  #requireKept(): Kept {
    if (!this.#credentials.kept) throw SessionError.local("auth_required", "There is no session.");
    return this.#credentials.kept;
  }
}

/** Return true if the end may be that of a logout after which the page goes on as nobody; the server knows whether. */
function mayReturn({ onLogout, session }: Kept, reason: string): boolean {
  if (onLogout !== "anonymous") return false;
  // A visitor has no login that could end: a session of theirs was ended on purpose.
  return reason === LOGGED_OUT || (session.user_id !== null && MAY_BE_LOGOUT.has(reason));
}

function normalizeUser(user: string | number | null | undefined): string | null | undefined {
  return typeof user === "number" ? String(user) : user;
}
