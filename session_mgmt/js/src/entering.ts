/** Call that decides which session a page continues with (PROTOCOL section 15). Callers hold the lock. */

import type { Credentials, Kept, Named, PairFields, TokenMode } from "./credentials";
import type { Environment } from "./environment";
import { SessionError } from "./errors";
import type { Endpoints, Position, SessionFields, SuccessorReceipt } from "./frames";
import type { CreateOptions, StartOptions, VisitorDocument } from "./options";
import { pause } from "./pause";
import type { Rest } from "./rest";

export interface Entered extends PairFields {
  verdict: "created" | "continued" | "claimed" | "recovered" | "ask";
  reason: string;
  user_id: string | null;
  session: SessionFields;
  /** Kind of proof from now on. */
  token_mode: TokenMode;
  positions: Record<string, Position>;
  endpoints: Endpoints;
  receipt: SuccessorReceipt | null;
  documents?: VisitorDocument[] | null;
  on_logout?: "end" | "anonymous";
}

/** Arguments of a call, besides the kept session. */
export interface Call {
  /** Expected user; undefined if the page does not know the user. */
  user: string | null | undefined;
  /** Reason why the page cannot continue as before, if the server does not tell one. */
  reason?: string;
  signal?: AbortSignal;
}

/** Content of a call. A repeated call has the same content, so the server treats it as the same call. */
interface Request {
  readonly kept: Kept | null;
  nonce: string;
}

// The cookie of the page may be changing because of another answer.
const MISSING_AGAIN = 3_000;

export class Entrance {
  readonly #env: Environment;
  readonly #rest: Rest;
  readonly #credentials: Credentials;
  readonly #name: string | undefined;
  readonly #create: CreateOptions;
  readonly #onAsk: StartOptions["onAsk"];

  constructor(env: Environment, rest: Rest, credentials: Credentials, { name, create, onAsk }: StartOptions) {
    this.#env = env;
    this.#rest = rest;
    this.#credentials = credentials;
    this.#name = name;
    this.#create = create ?? {};
    this.#onAsk = onAsk;
  }

  /** Enter with the kept session, and store the answer. Throws the refusal of the server. */
  async enter(kept: Kept | null, call: Call): Promise<Entered> {
    // Draw the nonce in the same task in which the caller read the kept session: another tab without Web Locks may
    // store its answer and remove the nonce while this one asks again. With the same nonce both get one session.
    const request = { kept, nonce: this.#credentials.beginRequest() };
    let answer = await this.#ask(request, call);
    if (answer.verdict === "ask") answer = await this.#ask(request, call, await this.#choose(answer.documents ?? []));
    this.#keep(request, answer, call.reason);
    return answer;
  }

  async #ask(request: Request, call: Call, choice?: "claim" | "fresh"): Promise<Entered> {
    const tried = new Set<string>();
    for (;;) {
      const body = { ...this.#describe(request, call.user), ...(choice && { choice }) };
      try {
        return (await this.#rest.sendRequest("POST", "sessions/enter/", { body, signal: call.signal })).body as Entered;
      } catch (error) {
        if (!(error instanceof SessionError)) throw error;
        await this.#prepareAgain(error, request, tried, call.signal);
      }
    }
  }

  #describe({ kept, nonce }: Request, user: string | null | undefined): object {
    return {
      nonce,
      kept: kept && describeKept(kept),
      previous: this.#credentials.previous,
      ...(user === undefined ? {} : { user }),
      ...(this.#name === undefined ? {} : { name: this.#name }),
      create: this.#create,
    };
  }

  /** Do what a refusal requires before the call is repeated; throw the refusal if nothing helps. */
  async #prepareAgain(error: SessionError, request: Request, tried: Set<string>, signal?: AbortSignal): Promise<void> {
    const { name } = error;
    if (name === "login_missing") return pause(this.#env.clock, MISSING_AGAIN, signal);
    const isFirst = !tried.has(name);
    tried.add(name);
    // The nonce belongs to a call of another user's page, or it is too old.
    if (name !== "invalid_field" || error.facts.field !== "nonce" || !isFirst) throw error;
    this.#credentials.endRequest();
    request.nonce = this.#credentials.beginRequest();
  }

  async #choose(documents: VisitorDocument[]): Promise<"claim" | "fresh"> {
    return (await this.#onAsk?.(documents)) ?? "fresh";
  }

  #keep({ kept, nonce }: Request, answer: Entered, why = ""): void {
    const { session, endpoints, reason, on_logout: onLogout } = answer;
    const before = kept?.session.session_id;
    const left = before && before !== session.session_id && { left: { session: before, reason: reason || why } };
    this.#credentials.requireMode(answer.token_mode);
    const named = { session, endpoints, ...(onLogout === "anonymous" && { onLogout }), ...left };
    this.#credentials.store(this.#proveBy(answer, named, kept, nonce));
    if (reason === "login_gone" && kept) this.#credentials.previous = kept.session.session_id;
    else if (session.user_id !== null) this.#credentials.previous = null;
  }

  /** Return the kept session with the proof from the answer, or with its present proof. */
  #proveBy({ token_mode: mode, ...pair }: Entered, named: Named, kept: Kept | null, nonce: string): Kept {
    if (mode === "cookie") return this.#credentials.keepCookie(named, pair.login_due_in);
    if (kept?.session.session_id !== named.session.session_id) {
      return this.#credentials.renew({ ...named, token: "" }, pair);
    }
    const { turn: _turn, onLogout: _onLogout, ...before } = kept;
    const token = before.refresh ?? before.token;
    const exchange = token ? { token, nonce } : undefined;
    return this.#credentials.renew({ ...before, ...named }, pair, exchange);
  }
}

function describeKept({ session: { session_id: session }, refresh, token }: Kept): object {
  const proof = refresh ?? token;
  return proof === "" ? { session } : { session, token: proof };
}
