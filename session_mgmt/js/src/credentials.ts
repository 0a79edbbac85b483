/** Stored proof of the session, with its addresses and its user; shared by all tabs, or for this tab only. */

import { isText } from "./arguments";
import type { Clock } from "./environment";
import { SessionError } from "./errors";
import type { Endpoints, SessionFields } from "./frames";
import type { Shelf } from "./storage";

/** Tokens from an answer of the server; null if the present ones stay valid. Times are seconds from the answer on. */
export interface PairFields {
  access: string | null;
  refresh: string | null;
  expires_in: number | null;
  login_due_in: number | null;
}

/** Request that exchanged a token; repeated, it returns the same pair. */
export interface Exchange {
  token: string;
  nonce: string;
}

/** Proof of a session: tokens in the storage of the page (`bearer`), or a cookie that no script can read. */
export type TokenMode = "bearer" | "cookie";

/** Stored facts about a session, without its proof. */
export interface Named {
  session: SessionFields;
  endpoints: Endpoints;
  /** After a logout the page gets an anonymous session. */
  onLogout?: "anonymous";
  /** Session that this one replaces, and the reason, for tabs that learn of the change from the storage. */
  left?: { session: string; reason: string };
}

export interface Kept extends Named {
  /** Access token, or a token without a refresh token; empty if a cookie proves the session. */
  token: string;
  /**
   * Random value, new each time that a cookie was set or confirmed. It is no secret: it shows other tabs that one has
   * entered.
   */
  turn?: string;
  /** Absent with a cookie, and for a token that cannot be refreshed. */
  refresh?: string;
  /** Time at which the proof arrived, and its lifetime in milliseconds; absent if it need not be renewed. */
  since?: number;
  life?: number;
  /** Time from which the login must be proved again; null if the session has no login. */
  loginDue?: number | null;
  /** Exchange that returned the tokens, if one did. */
  from?: Exchange;
}

const [SESSION, NONCE, PREVIOUS] = ["session", "pending", "previous"] as const;
/** Fraction of its lifetime after which a token is exchanged. */
const DUE_AFTER = 0.8;
/** Milliseconds by which the time may seem to go back although nobody set the clock. */
const JITTER = 5_000;

export class Credentials {
  /** True when the server has confirmed, since the page was loaded, whose session it is. */
  isVerified = false;
  readonly #wanted: TokenMode | undefined;
  readonly #shelf: Shelf;
  readonly #clock: Clock;
  #kept: Kept | null = null;
  #isOver = false;

  /** `wanted`: only mode that the page accepts; by default that of the server. */
  constructor(shelf: Shelf, clock: Clock, wanted?: TokenMode) {
    this.#shelf = shelf;
    this.#clock = clock;
    this.#wanted = wanted;
  }

  /** Session that this tab uses; null before the start and after the end. */
  get kept(): Kept | null {
    return this.#isOver ? null : this.#kept;
  }

  /** Token for requests; empty if a cookie is sent instead. Throws until the server has said whose session this is. */
  get token(): string {
    const { token } = this.#requireSession();
    if (this.#isOver) throw noSession();
    if (this.isVerified) return token;
    throw SessionError.local("unverified", "The server has not said yet who is logged in: wait for `identity`.", true);
  }

  get session(): SessionFields {
    return this.#requireSession().session;
  }

  get endpoints(): Endpoints {
    return this.#requireSession().endpoints;
  }

  /** Return the session that this or another tab has stored. */
  readStored(): Kept | null {
    const kept = this.#shelf.get<Partial<Kept>>(SESSION);
    const parts = [kept?.session?.session_id, kept?.token, kept?.endpoints?.websocket];
    return parts.every(isText) ? (kept as Kept) : null;
  }

  /** Use the stored session. */
  adopt(kept: Kept, isVerified: boolean): void {
    this.#kept = kept;
    this.#isOver = false;
    this.isVerified = isVerified;
  }

  /** Store a session with its tokens, and use it. */
  store(kept: Kept): void {
    this.#shelf.set(SESSION, kept);
    // Not earlier: a tab that finds the nonce repeats the request and gets the same answer.
    this.#shelf.remove(NONCE);
    this.adopt(kept, true);
  }

  /** Remove the stored session, unless another tab has stored another one meanwhile. */
  forgetStored(): void {
    const stored = this.readStored();
    if (!this.#kept || stored?.session.session_id === this.#kept.session.session_id) this.#shelf.remove(SESSION);
  }

  /** Drop the tokens; keep only the id of the session. */
  end(): void {
    this.#isOver = true;
    this.isVerified = false;
    if (!this.#kept) return;
    const { session, endpoints } = this.#kept;
    this.#kept = { session: { ...session, label: "", metadata: {} }, endpoints, token: "" };
  }

  /** If a cookie is the only proof now, remove the tokens that a page with `share: "tab"` keeps in another store. */
  dropTokens(other: Shelf): void {
    if (this.#kept?.turn === undefined) return;
    for (const name of [SESSION, NONCE]) other.remove(name);
  }

  /** Return the nonce of the request that is in progress, even if another tab began it. */
  beginRequest(): string {
    const kept = `${this.#shelf.get<{ nonce: string }>(NONCE)?.nonce}`;
    // The server would refuse any other nonce at each start.
    const nonce = /^[\w-]{43}$/.test(kept) ? kept : drawNonce();
    this.#shelf.set(NONCE, { nonce });
    return nonce;
  }

  /** Drop the nonce, because its request has its final answer. */
  endRequest(): void {
    this.#shelf.remove(NONCE);
  }

  /** Id of a session whose login has ended. The next login of the same user restores its state. */
  get previous(): string | null {
    return this.#shelf.get<string>(PREVIOUS);
  }

  set previous(id: string | null) {
    if (id === null) this.#shelf.remove(PREVIOUS);
    else this.#shelf.set(PREVIOUS, id);
  }

  /** Check that the server uses the mode that the page wants. Throws `wrong_token_mode`. */
  requireMode(server: TokenMode): void {
    if ((this.#wanted ?? server) === server) return;
    const gives = server === "cookie" ? "keeps the proof in a cookie that all tabs share" : "gives tokens";
    throw SessionError.local("wrong_token_mode", `The server ${gives}: start with tokenMode "${server}".`);
  }

  /** Return the kept session with a cookie as its proof, until the login must be proved again. */
  keepCookie(kept: Named, loginDueIn: number | null): Kept {
    const life = loginDueIn === null ? {} : { life: loginDueIn * 1000 };
    return { ...kept, token: "", turn: drawNonce(), since: this.#clock.now(), ...life };
  }

  /** Return the kept session with the tokens of an answer, and the times at which they are due. */
  renew(kept: Kept, pair: PairFields, from?: Exchange): Kept {
    const now = this.#clock.now();
    const loginDue = pair.login_due_in === null ? null : now + pair.login_due_in * 1000;
    if (pair.access === null || pair.refresh === null) return { ...kept, loginDue };
    const life = (pair.expires_in ?? 0) * 1000;
    return { ...kept, token: pair.access, refresh: pair.refresh, since: now, life, loginDue, ...(from && { from }) };
  }

  /** Return the milliseconds until the proof should be renewed; `Infinity` if it need not be. */
  findDueIn({ since = 0, life }: Kept = this.#requireSession()): number {
    if (life === undefined) return Infinity;
    const passed = this.#clock.now() - since;
    // After the clock was set back, nobody knows how old the token is.
    return passed < -JITTER ? 0 : Math.max(0, DUE_AFTER * life - passed);
  }

  /** Return true if the kept session can be used for a connection now. */
  isFresh({ turn, since = 0, life }: Kept): boolean {
    const mode = turn === undefined ? "bearer" : "cookie";
    // A token without a refresh token is exchanged first.
    const isWanted = mode === (this.#wanted ?? mode) && (mode === "cookie" || life !== undefined);
    const passed = this.#clock.now() - since;
    return isWanted && passed >= -JITTER && passed < (life ?? Infinity);
  }

  /** Return true if the next exchange must carry the cookies of the page. */
  isLoginDue(): boolean {
    const { loginDue } = this.#requireSession();
    return typeof loginDue === "number" && this.#clock.now() >= loginDue - JITTER;
  }

  #requireSession(): Kept {
    if (!this.#kept) throw noSession();
    return this.#kept;
  }
}

function noSession(): SessionError {
  return SessionError.local("auth_required", "There is no session: log in, then call `login()`.");
}

/** Return true if both sessions may belong to one person: a visitor may have logged in. */
export function maySucceed(before: Kept, after: Kept): boolean {
  const user = before.session.user_id;
  return user === null || user === after.session.user_id;
}

/** Return a value that differs for each proof of a session. In the mode `bearer` it is a secret. */
export function nameProof({ turn, token }: Kept): string {
  return turn ?? token;
}

/** Return 256 random bits as 43 characters of base64url. */
function drawNonce(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(32));
  return btoa(String.fromCharCode(...bytes)).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}
