/** What a browser keeps of its session: tokens, addresses and whose it is, for all tabs (or this one). */

import { isText } from "./arguments";
import type { Clock } from "./environment";
import { SessionError } from "./errors";
import type { Endpoints, SessionFields } from "./frames";
import type { Shelf } from "./storage";

/** Tokens as the server gives them; null where the client's own go on. Times in seconds from the answer on. */
export interface PairFields {
  access: string | null;
  refresh: string | null;
  expires_in: number | null;
  login_due_in: number | null;
}

/** Exchange that gave a pair: repeated, it gives the same one. */
export interface Exchange {
  token: string;
  nonce: string;
}

/** How a page proves its session: by tokens in its storage, or by a cookie that no script can read. */
export type TokenMode = "bearer" | "cookie";

/** What is kept of a session beside its proof. */
export interface Named {
  session: SessionFields;
  endpoints: Endpoints;
  /** After a logout the page gets a session of nobody's. */
  onLogout?: "anonymous";
  /** Session that was left for this one, and why: for the tabs that learn of it here. */
  left?: { session: string; reason: string };
}

export interface Kept extends Named {
  /** Access token, or a token that stands alone; empty where a cookie proves the session. */
  token: string;
  /** Drawn each time that a cookie was given or confirmed: no secret, but tabs see by it that one of them entered. */
  turn?: string;
  /** Absent for a token that stands alone, and with a cookie. */
  refresh?: string;
  /** Time at which the proof came, and its life in milliseconds; it has none if it need not be renewed. */
  since?: number;
  life?: number;
  /** Time from which on the login must be proved again; null if the session has none. */
  loginDue?: number | null;
  /** How the tokens came, if by an exchange. */
  from?: Exchange;
}

const [SESSION, NONCE, PREVIOUS] = ["session", "pending", "previous"] as const;
/** Part of its life after which a token is exchanged. */
const DUE_AFTER = 0.8;
/** Milliseconds by which clocks of one machine may seem to go back. */
const JITTER = 5_000;

export class Credentials {
  /** False until the server has confirmed in this page's life whose session it is. */
  isVerified = false;
  readonly #wanted: TokenMode | undefined;
  readonly #shelf: Shelf;
  readonly #clock: Clock;
  #kept: Kept | null = null;
  #isOver = false;

  /** `wanted`: the only mode that the page takes; without it, that of the server. */
  constructor(shelf: Shelf, clock: Clock, wanted?: TokenMode) {
    this.#shelf = shelf;
    this.#clock = clock;
    this.#wanted = wanted;
  }

  /** Session that this tab goes on with; null before the start and after the end. */
  get kept(): Kept | null {
    return this.#isOver ? null : this.#kept;
  }

  /** Token for requests, empty where a cookie goes with them. Throws before the server has said whose session this is. */
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

  /** Return what this or another tab has stored. */
  readStored(): Kept | null {
    const kept = this.#shelf.get<Partial<Kept>>(SESSION);
    const parts = [kept?.session?.session_id, kept?.token, kept?.endpoints?.websocket];
    return parts.every(isText) ? (kept as Kept) : null;
  }

  /** Go on with what is stored, or was just stored. */
  adopt(kept: Kept, isVerified: boolean): void {
    this.#kept = kept;
    this.#isOver = false;
    this.isVerified = isVerified;
  }

  /** Store a session with its tokens, and go on with it. */
  store(kept: Kept): void {
    this.#shelf.set(SESSION, kept);
    // Only now: whoever finds the nonce asks for the same answer again.
    this.#shelf.remove(NONCE);
    this.adopt(kept, true);
  }

  /** Remove what is stored, unless another tab has stored another session meanwhile. */
  forgetStored(): void {
    const stored = this.readStored();
    if (!this.#kept || stored?.session.session_id === this.#kept.session.session_id) this.#shelf.remove(SESSION);
  }

  /** Let go of the tokens; of the session only its name is left. */
  end(): void {
    this.#isOver = true;
    this.isVerified = false;
    if (!this.#kept) return;
    const { session, endpoints } = this.#kept;
    this.#kept = { session: { ...session, label: "", metadata: {} }, endpoints, token: "" };
  }

  /** Remove from another store the tokens of a page that shares nothing, if a cookie is the only proof now. */
  dropTokens(other: Shelf): void {
    if (this.#kept?.turn === undefined) return;
    for (const name of [SESSION, NONCE]) other.remove(name);
  }

  /** Return the nonce of the request that is under way, also if another tab began it. */
  beginRequest(): string {
    const kept = `${this.#shelf.get<{ nonce: string }>(NONCE)?.nonce}`;
    // Any other would be refused, at each start anew.
    const nonce = /^[\w-]{43}$/.test(kept) ? kept : drawNonce();
    this.#shelf.set(NONCE, { nonce });
    return nonce;
  }

  /** Drop the nonce: its request was answered for good. */
  endRequest(): void {
    this.#shelf.remove(NONCE);
  }

  /** Id of a session whose login is gone; the same user's next login brings its state back. */
  get previous(): string | null {
    return this.#shelf.get<string>(PREVIOUS);
  }

  set previous(id: string | null) {
    if (id === null) this.#shelf.remove(PREVIOUS);
    else this.#shelf.set(PREVIOUS, id);
  }

  /** Require that the server proves sessions as the page wants it. Throws `wrong_token_mode`. */
  requireMode(server: TokenMode): void {
    if ((this.#wanted ?? server) === server) return;
    const gives = server === "cookie" ? "keeps the proof in a cookie that all tabs share" : "gives tokens";
    throw SessionError.local("wrong_token_mode", `The server ${gives}: start with tokenMode "${server}".`);
  }

  /** Add that a cookie proves what is kept, until the login is due to be proved again. */
  keepCookie(kept: Named, loginDueIn: number | null): Kept {
    const life = loginDueIn === null ? {} : { life: loginDueIn * 1000 };
    return { ...kept, token: "", turn: drawNonce(), since: this.#clock.now(), ...life };
  }

  /** Add the tokens of an answer to what is kept, with the times at which they are due. */
  renew(kept: Kept, pair: PairFields, from?: Exchange): Kept {
    const now = this.#clock.now();
    const loginDue = pair.login_due_in === null ? null : now + pair.login_due_in * 1000;
    if (pair.access === null || pair.refresh === null) return { ...kept, loginDue };
    const life = (pair.expires_in ?? 0) * 1000;
    return { ...kept, token: pair.access, refresh: pair.refresh, since: now, life, loginDue, ...(from && { from }) };
  }

  /** Milliseconds until the proof should be renewed; `Infinity` for one that stays. */
  findDueIn({ since = 0, life }: Kept = this.#requireSession()): number {
    if (life === undefined) return Infinity;
    const passed = this.#clock.now() - since;
    // Who set the clock back does not know how long the token has lived.
    return passed < -JITTER ? 0 : Math.max(0, DUE_AFTER * life - passed);
  }

  /** Return true if what is kept is good for a connection now. */
  isFresh({ turn, since = 0, life }: Kept): boolean {
    const mode = turn === undefined ? "bearer" : "cookie";
    // A token that stands alone is exchanged first.
    const isWanted = mode === (this.#wanted ?? mode) && (mode === "cookie" || life !== undefined);
    const passed = this.#clock.now() - since;
    return isWanted && passed >= -JITTER && passed < (life ?? Infinity);
  }

  /** Return true if the next exchange must carry the page's cookies. */
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

/** Return true if the person of one session may be the one of another: a visitor may have logged in. */
export function maySucceed(before: Kept, after: Kept): boolean {
  const user = before.session.user_id;
  return user === null || user === after.session.user_id;
}

/** Return what tells a proof of a session from the one before and the next; it is a secret in the mode `bearer`. */
export function nameProof({ turn, token }: Kept): string {
  return turn ?? token;
}

/** Draw 256 random bits as 43 characters of base64url. */
function drawNonce(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(32));
  return btoa(String.fromCharCode(...bytes)).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}
