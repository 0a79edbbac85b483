/** Token and addresses of a session: stored for all tabs (or this one), created once, replaced when it expires. */

import type { Clock, Environment } from "./environment";
import { SessionError } from "./errors";
import { Backoff } from "./backoff";
import type { Endpoints, Position, SessionFields, SuccessorReceipt } from "./frames";
import type { JsonObject } from "./values";
import { runExclusively } from "./lock";
import type { Rest } from "./rest";
import type { Shelf } from "./storage";

export interface Kept {
  session: SessionFields;
  token: string;
  endpoints: Endpoints;
}

export interface CreateOptions {
  metadata?: JsonObject;
  config?: JsonObject;
  /** Name that people give this browser. */
  label?: string;
}

/** Attempts to create a session. */
export interface Attempt {
  signal?: AbortSignal;
  /** Called with the error of an attempt after which another one follows. */
  tell?: (error: SessionError) => void;
}

interface CreateAnswer extends Kept {
  positions?: Record<string, Position>;
}

const CREATE_ATTEMPTS = 6;
const NAME = "session";

export class Credentials {
  readonly #env: Environment;
  readonly #rest: Rest;
  readonly #shelf: Shelf;
  readonly #scope: string;
  /** User who is logged in, if the page knows; then no other user's session is taken. */
  readonly #user: string | null | undefined;
  #kept: Kept | null = null;

  constructor(env: Environment, rest: Rest, shelf: Shelf, scope: string, user?: string | number | null) {
    this.#user = typeof user === "number" ? String(user) : user;
    this.#env = env;
    this.#rest = rest;
    this.#shelf = shelf;
    this.#scope = scope;
  }

  get token(): string {
    return this.#requireSession().token;
  }

  get session(): SessionFields {
    return this.#requireSession().session;
  }

  get endpoints(): Endpoints {
    return this.#requireSession().endpoints;
  }

  /** Take the stored session or create one; return where a new one's logs begin. Two tabs at once create one. */
  async obtainSession(options: CreateOptions, attempt: Attempt = {}): Promise<Record<string, Position>> {
    this.#kept = this.#readStored();
    if (this.#kept) return {};
    return runExclusively(this.#env, `${this.#scope}create`, async () => {
      this.#kept = this.#readStored();
      if (this.#kept) return {};
      const answer = await this.#createSession(options, attempt);
      this.#storeSession(answer);
      return answer.positions ?? {};
    }, attempt.signal);
  }

  /** Adopt the session that another tab has stored instead of this tab's; return false if nobody did. */
  adoptStored(): boolean {
    const kept = this.#readStored();
    if (!kept || kept.token === this.#kept?.token) return false;
    this.#kept = kept;
    return true;
  }

  /**
   * Ask for a successor of the expired session, unless another tab has (then there is no receipt). Throws what the
   * server answered.
   */
  recoverSession(): Promise<SuccessorReceipt | null> {
    return runExclusively(this.#env, `${this.#scope}create`, async () => {
      if (this.adoptStored()) return null;
      const { token, session } = this.#requireSession();
      const path = `sessions/${session.session_id}/recover/`;
      const { body } = await this.#rest.sendRequest("POST", path, { body: {}, token });
      this.#storeSession({ ...this.#requireSession(), ...(body as Partial<Kept>) });
      return (body.receipt as SuccessorReceipt | undefined) ?? null;
    });
  }

  /** Forget the session, so that the next start creates a new one. */
  forgetSession(): void {
    // Another tab may have put a good one there already.
    if (this.#shelf.get<Kept>(NAME)?.token === this.#kept?.token) this.#shelf.remove(NAME);
  }

  async #createSession(options: CreateOptions, { signal, tell }: Attempt): Promise<CreateAnswer> {
    const backoff = new Backoff(this.#env.random);
    for (;;) {
      try {
        return (await this.#rest.sendRequest("POST", "sessions/", { body: options, signal })).body as CreateAnswer;
      } catch (error) {
        const again = error instanceof SessionError && error.temporary && backoff.attempt < CREATE_ATTEMPTS;
        const wait = again ? backoff.nextWait(error.retryAfter ?? 0) : null;
        if (wait === null) throw error;
        tell?.(error as SessionError);
        await pause(this.#env.clock, wait, signal);
      }
    }
  }

  /** Return the session that this or another tab has stored; null if it is another user's. */
  #readStored(): Kept | null {
    const kept = this.#shelf.get<Kept>(NAME);
    const foreign = this.#user !== undefined && kept?.session.user_id !== this.#user;
    return foreign ? null : kept;
  }

  #storeSession({ session, token, endpoints }: Kept): void {
    this.#kept = { session, token, endpoints };
    this.#shelf.set(NAME, this.#kept);
  }

  #requireSession(): Kept {
    if (!this.#kept) throw SessionError.local("auth_required", "There is no session.");
    return this.#kept;
  }
}

/** Wait so many milliseconds; rejects with the signal's reason when it is aborted. */
function pause(clock: Clock, milliseconds: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const stop = (): void => {
      clock.clearTimeout(timer);
      reject(signal?.reason);
    };
    const timer = clock.setTimeout(() => {
      signal?.removeEventListener("abort", stop);
      resolve();
    }, milliseconds);
    signal?.addEventListener("abort", stop, { once: true });
  });
}
