/**
 * Whose session this tab has. One tab at a time enters or refreshes, under a lock; the others find in storage what it
 * got. Before a connection opens, everything about the session is settled.
 */

import { Backoff } from "./backoff";
import type { Preparation } from "./connection";
import { maySucceed, type Credentials, type Kept } from "./credentials";
import { Entrance, type Entered } from "./entering";
import type { Environment } from "./environment";
import { SessionError } from "./errors";
import { runExclusively } from "./lock";
import type { StatusReason } from "./events";
import type { StartOptions } from "./options";
import { pause } from "./pause";
import { Refresher, type AskSocket } from "./refreshing";
import type { Rest } from "./rest";
import { Tabs } from "./tabs";

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

/** How a start found its session. */
export interface Begun {
  before: Kept | null;
  entered: Entered | null;
}

const [START, TOKEN_EXPIRED] = ["start", "token_expired"] as const;
export const LOGGED_OUT = "logged_out";
/** Milliseconds for which a start waits for an answer, if there is a session that it can begin with. */
const PATIENCE = 8_000;
const RENEW_AGAIN = 5_000;
const LONGEST_TIMER = 86_400_000;
/** Refusals of a refresh that end the session. */
const ENDS: ReadonlySet<string> = new Set(["session_terminated"]);
/** Refusals that say nothing about the session in storage: the page is not its user's. */
const OF_THE_PAGE: ReadonlySet<string> = new Set(["login_mismatch"]);

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
  #tabs: Tabs | null = null;
  /** Why the server must be asked before this tab connects again. */
  #doubt: string | null = null;
  /** The server has refused the access token for its age, whatever the clock says. */
  #isTokenOver = false;
  /** Token that the last connection began with. */
  #used: string | null = null;
  #timer: unknown = null;
  #isClosed = false;

  constructor({ env, rest, credentials, scope, tell }: IdentityParts, options: StartOptions) {
    this.#env = env;
    this.#credentials = credentials;
    this.#scope = scope;
    this.#tell = tell;
    this.#user = normalizeUser(options.user);
    this.#whenOffline = options.whenOffline ?? "wait";
    this.#entrance = new Entrance(env, rest, credentials, options);
    const askSocket: AskSocket = async (frame) => (await this.#port?.askSocket(frame)) ?? null;
    this.#refresher = new Refresher(rest, credentials, askSocket);
  }

  /** Find the session of a page that begins. Throws what the server refuses, or the signal's reason. */
  async begin(signal?: AbortSignal): Promise<Begun> {
    const kept = this.#credentials.readStored();
    const isExpected = kept !== null && this.#user !== undefined && kept.session.user_id === this.#user;
    const mayBegin = kept !== null && (this.#user === undefined || isExpected);
    if (kept && isExpected && this.#credentials.isFresh(kept)) return this.#beginWith(kept, true);
    const isVisible = isExpected || kept?.session.user_id === null || this.#whenOffline === "kept";
    if (kept && mayBegin && this.#whenOffline === "kept") return this.#beginWith(kept, false);
    const backoff = new Backoff(this.#env.random);
    for (;;) {
      try {
        return await this.#beginByServer(mayBegin ? PATIENCE : null, signal);
      } catch (error) {
        if (!(error instanceof SessionError)) throw error;
        if (!error.temporary) throw this.#refuseStart(error, kept);
        this.#tell(error);
        this.isHidden = !isVisible;
        if (kept && mayBegin) return this.#beginWith(kept, false);
        await pause(this.#env.clock, backoff.nextWait(error.retryAfter ?? 0) ?? RENEW_AGAIN, signal);
      }
    }
  }

  /** Serve a client from now on. */
  attach(port: IdentityPort): void {
    this.#port = port;
    this.#tabs = new Tabs(this.#env, this.#scope, {
      look: () => this.look(),
      takeEnd: (session, reason) => {
        if (this.#credentials.kept?.session.session_id === session) this.endSession(reason);
      },
    });
    this.#planRefresh();
  }

  close(): void {
    this.#isClosed = true;
    this.#tabs?.close();
    this.#env.clock.clearTimeout(this.#timer);
  }

  /** Note the token that a connection begins with, and return it. */
  useToken(): string {
    return (this.#used = this.#credentials.token);
  }

  /** Ask the server before the next connection, unless this tab has newer tokens already. */
  doubtSession(reason: string): void {
    if (reason === TOKEN_EXPIRED) this.#isTokenOver = true;
    else if (this.#used === null || this.#used === this.#credentials.kept?.token) this.#doubt = reason;
  }

  /** Make sure of the session and its tokens before a connection opens; null if nothing is to be done. */
  settle(): Promise<Preparation> | null {
    const { kept, isVerified } = this.#credentials;
    const isSettled = this.#doubt === null && kept !== null && isVerified && !this.#isRefreshDue();
    return isSettled ? null : this.#settleForConnection();
  }

  /** Enter again because somebody has logged in, or out, without a new page. */
  async enterAgain(user: string | number | null | undefined): Promise<void> {
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
    if (this.#credentials.kept && this.#isRefreshDue()) this.#renewInTime();
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
    return mine !== null && stored !== null && stored.token !== mine.token && maySucceed(mine, stored);
  }

  #exclusively<T>(work: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    return runExclusively(this.#env, `${this.#scope}identity`, work, signal);
  }

  #beginWith(kept: Kept, isVerified: boolean): Begun {
    this.#credentials.adopt(kept, isVerified);
    if (!isVerified) this.#doubt = START;
    return { before: kept, entered: null };
  }

  async #beginByServer(patience: number | null, signal?: AbortSignal): Promise<Begun> {
    const call = new AbortController();
    const stop = (): void => call.abort(signal?.reason);
    signal?.addEventListener("abort", stop, { once: true });
    const late = SessionError.local("network_error", "The server did not answer in time.", true);
    const timer = patience === null ? null : this.#env.clock.setTimeout(() => call.abort(late), patience);
    try {
      return await this.#exclusively(async () => {
        // Another tab may have entered while this one waited for its turn.
        const before = this.#credentials.readStored();
        const entered = await this.#entrance.enter(before, { user: this.#user, signal: call.signal });
        return { before, entered };
      }, call.signal);
    } finally {
      if (timer !== null) this.#env.clock.clearTimeout(timer);
      signal?.removeEventListener("abort", stop);
    }
  }

  /** Forget the session of a page that may not begin, unless it is somebody else's than the page was made for. */
  #refuseStart(error: SessionError, kept: Kept | null): SessionError {
    if (kept && !OF_THE_PAGE.has(error.name)) this.#forget(kept, error.name);
    return error;
  }

  async #settleForConnection(): Promise<Preparation> {
    try {
      await this.#exclusively(() => this.#settle());
      return { repair: null };
    } catch (error) {
      const failure = toFailure(error);
      const reason = { code: 0, name: failure.name };
      this.#tell(failure);
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
      this.#planRefresh();
      if (hasChanged) this.#doubt = "login_changed";
      return !hasChanged;
    } catch (error) {
      const failure = toFailure(error);
      if (failure.temporary || ENDS.has(failure.name)) throw failure;
      this.#doubt = failure.name;
      return false;
    }
  }

  async #enter(reason: string): Promise<void> {
    const before = this.#credentials.kept;
    const entered = await this.#entrance.enter(before ?? this.#credentials.readStored(), { user: this.#user });
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
    if (after.token === before.token) return false;
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
    this.#planRefresh();
  }

  #end(error: SessionError, status: StatusReason = { code: 0, name: error.name }): void {
    const kept = this.#credentials.kept;
    this.#env.clock.clearTimeout(this.#timer);
    this.#doubt = null;
    if (kept && !OF_THE_PAGE.has(error.name)) {
      this.#forget(kept, error.name);
      this.#tabs?.tellEnd(kept.session.session_id, error.name);
    }
    this.#port?.takeEnd(error.name, status);
    this.#credentials.end();
  }

  #forget(kept: Kept, reason: string): void {
    this.#credentials.forgetStored();
    // The login is gone, not the person: the next login brings the state back.
    if (reason === LOGGED_OUT) this.#credentials.previous = null;
    else if (reason === "auth_required") this.#credentials.previous = kept.session.user_id && kept.session.session_id;
  }

  #planRefresh(): void {
    this.#env.clock.clearTimeout(this.#timer);
    if (this.#isClosed || !this.#port || !this.#credentials.kept) return;
    const wait = this.#credentials.findDueIn();
    if (wait < Infinity) this.#planRenewal(Math.min(wait, LONGEST_TIMER));
  }

  #planRenewal(wait: number): void {
    this.#env.clock.clearTimeout(this.#timer);
    this.#timer = this.#env.clock.setTimeout(() => this.#renewInTime(), wait);
  }

  #renewInTime(): void {
    // Without a connection the next one settles it first.
    if (this.#port?.isConnected()) void this.#renew();
  }

  /** Renew the tokens of a connection that lives. */
  async #renew(): Promise<void> {
    if (this.#isClosed) return;
    try {
      await this.#exclusively(() => this.#settle());
      if (!this.#isClosed) this.#planRefresh();
    } catch (error) {
      const failure = toFailure(error);
      if (this.#isClosed) return;
      if (failure.temporary) this.#planRenewal(RENEW_AGAIN);
      else this.#end(failure);
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

function normalizeUser(user: string | number | null | undefined): string | null | undefined {
  return typeof user === "number" ? String(user) : user;
}

function toFailure(error: unknown): SessionError {
  return error instanceof SessionError ? error : SessionError.local("recovery_failed", String(error));
}
