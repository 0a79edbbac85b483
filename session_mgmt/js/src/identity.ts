/**
 * Session of this tab, as far as every page needs it: at the start, and before each connection. The part `changes`
 * handles later changes. One tab at a time enters or refreshes, under a lock; the other tabs find its result in the
 * storage.
 */

import { Beginning, type Begun } from "./beginning";
import { maySucceed, nameProof, type Credentials, type Kept } from "./credentials";
import { Entrance } from "./entering";
import type { Environment } from "./environment";
import type { SessionError } from "./errors";
import { runExclusively } from "./lock";
import type { StartOptions } from "./options";
import type { Rest } from "./rest";

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

export class Identity {
  /** True if nothing of the kept session may be shown yet. */
  isHidden = false;
  /** Reason why the client must ask the server before this tab connects again; null if it need not. */
  doubt: string | null = null;
  /** True if the server has refused the access token because of its age, whatever the clock says. */
  isTokenOver = false;
  /** Key of the expected user; undefined if the page does not know the user. */
  user: string | null | undefined;
  readonly entrance: Entrance;
  readonly parts: IdentityParts;
  /** Name of the proof that the last connection used. */
  used: string | null = null;
  readonly #whenOffline: "wait" | "kept";

  constructor(parts: IdentityParts, options: StartOptions) {
    this.parts = parts;
    this.user = normalizeUser(options.user);
    this.#whenOffline = options.whenOffline ?? "wait";
    this.entrance = new Entrance(parts.env, parts.rest, parts.credentials, options);
  }

  /** Find the session of a page that begins. Throws the refusal of the server, or the reason of the signal. */
  async begin(signal?: AbortSignal): Promise<Begun> {
    const { env, credentials, tell } = this.parts;
    const beginning = new Beginning(this.entrance, credentials, {
      env,
      user: this.user,
      whenOffline: this.#whenOffline,
      tell,
      runAlone: (work, ending) => this.runAlone(work, ending),
      forget: (kept, reason) => this.forget(kept, reason),
    });
    const { isHidden, isCertain, ...begun } = await beginning.begin(signal);
    this.isHidden = isHidden;
    if (!isCertain) this.doubt = START;
    return begun;
  }

  /** Note the proof of a new connection, and return its token; empty if a cookie is sent instead. */
  useToken(): string {
    const { kept, token } = this.parts.credentials;
    this.used = kept && nameProof(kept);
    return token;
  }

  /** Ask the server before the next connection, unless this tab has newer tokens already. */
  doubtSession(reason: string): void {
    const { kept } = this.parts.credentials;
    // Another tab may have stored newer tokens while this tab's connection was being refused.
    if (this.used !== null && this.used !== (kept && nameProof(kept))) return;
    if (reason === TOKEN_EXPIRED && kept?.turn === undefined) this.isTokenOver = true;
    else this.doubt = reason;
  }

  /** True if a connection may open with the present session. */
  get isSettled(): boolean {
    const { kept, isVerified } = this.parts.credentials;
    return this.doubt === null && kept !== null && isVerified && !this.isRefreshDue;
  }

  /** True if the storage still has the session of this tab. */
  get isCurrent(): boolean {
    const { credentials } = this.parts;
    const [kept, stored] = [credentials.kept, credentials.readStored()];
    return kept !== null && stored !== null && nameProof(stored) === nameProof(kept) && maySucceed(kept, stored);
  }

  get isRefreshDue(): boolean {
    return this.isTokenOver || this.parts.credentials.findDueIn() <= 0;
  }

  /** Run `work` while no other tab enters or refreshes. */
  runAlone<T>(work: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    return runExclusively(this.parts.env, `${this.parts.scope}identity`, work, signal);
  }

  /** Forget the stored session after a refusal or an end. */
  forget(kept: Kept, reason: string): void {
    const { credentials } = this.parts;
    credentials.forgetStored();
    // Only the login has ended: the next login of the same user restores the state.
    if (reason === LOGGED_OUT) credentials.previous = null;
    else if (reason === "auth_required") credentials.previous = kept.session.user_id && kept.session.session_id;
  }
}

export function normalizeUser(user: string | number | null | undefined): string | null | undefined {
  return typeof user === "number" ? String(user) : user;
}
