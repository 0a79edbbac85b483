/** Answers of the fake server to the calls that decide which session a page gets (PROTOCOL sections 14 and 15). */

import type { Json } from "../values";
import type { FakeSession } from "./session";

/** State of the page's cookies, and settings of the project. */
export interface FakeLogin {
  /** User who is logged in; null for nobody. */
  user: string | null;
  /** True if the login was ended from elsewhere. */
  isEnded: boolean;
  onLogin: "claim" | "fresh" | "ask";
  onLogout: "end" | "anonymous";
  /** True if visitors get sessions. */
  anonymous: boolean;
  /** Kind of proof that pages use. */
  tokenMode: "bearer" | "cookie";
}

export interface FakeEntranceParts {
  login: FakeLogin;
  sessions: readonly FakeSession[];
  /** Make a session for the user who is logged in; with `before`, the successor of that session. */
  makeSession(before?: FakeSession): FakeSession;
  /** End the connections of a session whose tokens are no longer valid. */
  detach(session: FakeSession): void;
  end(session: FakeSession, state: "expired" | "terminated"): void;
}

interface Decision {
  verdict: string;
  session: FakeSession;
  reason?: string;
  isNew?: boolean;
  hasTokens?: boolean;
  receipt?: object;
}

/** Answer, with the secret of its cookie. */
export type Told = [status: number, body: object, cookie?: string];

const MISSING_TWICE = 2_000;

export class FakeEntrance {
  readonly #parts: FakeEntranceParts;
  /** Answers by nonce, to repeat one that was lost. */
  readonly #told = new Map<string, { user: string | null; told: Told }>();
  readonly #missing = new Map<FakeSession, number>();

  constructor(parts: FakeEntranceParts) {
    this.#parts = parts;
  }

  /** Enter; `cookie` is the secret that came with the call. */
  enter(body: Json, cookie?: string): Told {
    const { login } = this.#parts;
    if (login.user !== null && login.isEnded) return refuse(401, "login_ended");
    if ("user" in body && body.user !== login.user) return refuse(409, "login_mismatch");
    const before = this.#told.get(body.nonce);
    if (before && before.user !== login.user) return refuse(400, "invalid_field", { field: "nonce" });
    if (before) return before.told;
    const told = this.#decide(body, cookie);
    if (told[0] === 200 && (told[1] as Json).verdict !== "ask") this.#told.set(body.nonce, { user: login.user, told });
    return told;
  }

  refresh({ token, nonce }: Json): Told {
    const session = this.#parts.sessions.find(({ tokens }) => tokens.proves(token));
    if (!session) return refuse(401, "invalid_token");
    if (session.state !== "active") return refuse(401, `session_${session.state}`);
    if (session.user !== null && session.user !== this.#parts.login.user) return refuse(401, "login_check");
    if (!session.tokens.exchange(token, nonce)) {
      this.#parts.end(session, "terminated");
      return refuse(401, "invalid_token");
    }
    return [200, { ...session.tokens.fields, login_changed: session.user !== this.#parts.login.user }];
  }

  #decide(body: Json, cookie: string | undefined): Told {
    const { login, sessions } = this.#parts;
    const kept = sessions.find(({ id, tokens, isLegacy }) => {
      const token = body.kept?.token;
      if (cookie !== undefined) return tokens.isKnown(cookie);
      return id === body.kept?.session && (tokens.proves(token) || (isLegacy && tokens.isKnown(token)));
    });
    if (!kept || kept.state === "terminated") return this.#startAnew("");
    if (kept.state === "expired") return this.#recover(kept);
    if (kept.user === login.user) return this.#continue(kept, body);
    if (login.user === null) return this.#missLogin(kept);
    if (kept.user !== null) return this.#replace(kept, "login_changed");
    return this.#meetVisitor(kept, body.choice);
  }

  #continue(kept: FakeSession, { kept: given, nonce }: Json): Told {
    this.#missing.delete(kept);
    if (this.#parts.login.tokenMode === "cookie") return this.#tell({ verdict: "continued", session: kept });
    const { token } = given;
    if (kept.isLegacy) return this.#renew(kept, "continued");
    const hasTokens = kept.tokens.isPastHalf() || kept.tokens.pair.refresh !== token;
    if (hasTokens && !kept.tokens.exchange(token, nonce)) return this.#replace(kept, "token_reuse");
    return this.#tell({ verdict: "continued", session: kept, hasTokens });
  }

  #missLogin(kept: FakeSession): Told {
    const first = this.#missing.get(kept);
    if (first === undefined || Date.now() - first < MISSING_TWICE) {
      this.#missing.set(kept, first ?? Date.now());
      return refuse(409, "login_missing", { temporary: true });
    }
    this.#parts.end(kept, "expired");
    return this.#startAnew("login_gone");
  }

  #meetVisitor(kept: FakeSession, choice: Json): Told {
    const { onLogin, user } = this.#parts.login;
    if (onLogin === "fresh" || choice === "fresh") return this.#replace(kept, "not_claimed");
    if (onLogin === "ask" && choice !== "claim") {
      const documents = [...kept.documents].map(([name, { head }]) => ({ name, version: head }));
      const [status, body] = this.#tell({ verdict: "ask", session: kept, hasTokens: false });
      return [status, { ...body, user_id: user, documents }];
    }
    kept.user = user;
    return this.#renew(kept, "claimed");
  }

  #recover(kept: FakeSession): Told {
    const isSame = kept.user === this.#parts.login.user;
    if (!isSame || !kept.isRecoverable) return this.#startAnew("");
    const session = kept.successor ?? (kept.successor = this.#parts.makeSession(kept));
    const documents = [...kept.documents.keys()];
    const fixed = { verdict: "state_only", reason: "session_expired", subscriptions: [] };
    const receipt = { ...fixed, recovered_from: kept.id, documents };
    return this.#tell({ verdict: "recovered", session, receipt, isNew: true });
  }

  #renew(session: FakeSession, verdict: string): Told {
    session.isLegacy = false;
    session.tokens.begin();
    this.#parts.detach(session);
    return this.#tell({ verdict, session });
  }

  #replace(kept: FakeSession, reason: string): Told {
    this.#parts.end(kept, "terminated");
    return this.#startAnew(reason);
  }

  #startAnew(reason: string): Told {
    const { user, anonymous } = this.#parts.login;
    if (user === null && !anonymous) return refuse(401, "auth_required");
    return this.#tell({ verdict: "created", session: this.#parts.makeSession(), reason, isNew: true });
  }

  #tell({ verdict, session, reason = "", isNew = false, hasTokens = true, receipt }: Decision): Told {
    const none = { access: null, refresh: null, expires_in: null, login_due_in: null };
    const isCookie = this.#parts.login.tokenMode === "cookie" && verdict !== "ask";
    const due = session.user === null ? null : session.tokens.life;
    return [
      200,
      {
        verdict,
        reason,
        user_id: session.user,
        session: session.fields(),
        token_mode: this.#parts.login.tokenMode,
        ...(isCookie ? { ...none, login_due_in: due } : hasTokens ? session.tokens.fields : none),
        positions: isNew ? { session: session.log.position } : {},
        endpoints: { websocket: "/ws/session/", session: `/api/sessions/${session.id}/` },
        receipt: receipt ?? null,
        documents: null,
        on_logout: this.#parts.login.onLogout,
      },
      ...(isCookie ? [session.tokens.giveCookie(due ?? Infinity)] : []),
    ] as Told;
  }
}

function refuse(status: number, name: string, facts: object = {}): Told {
  return [status, { code: 0, name, temporary: false, message: name, ...facts }];
}
