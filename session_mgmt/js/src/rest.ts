/** HTTP requests (PROTOCOL section 13). */

import { isText } from "./arguments";
import type { TokenMode } from "./credentials";
import type { Environment } from "./environment";
import { SessionError, type ErrorFields } from "./errors";
import { limitTime } from "./pause";
import type { Json } from "./values";

const TIMEOUT = 20_000;
const NO_CONTENT = 204;
/** Seconds before the next attempt after an answer that is not the server's, such as that of a network's portal. */
export const PORTAL_WAIT = 15;

export interface Answer {
  body: Json;
  etag: string | null;
}

export interface RequestOptions {
  body?: unknown;
  /**
   * Token for the Authorization header. Empty: the session's cookie is sent instead. Absent: only the page's own login
   * is sent.
   */
  token?: string | null;
  headers?: Record<string, string>;
  /** Aborts the request, which then rejects with the reason of the signal. */
  signal?: AbortSignal;
}

/** Options for the page's own login. */
export interface LoginOptions {
  headers?: () => Record<string, string>;
  credentials?: RequestCredentials;
  tokenMode?: TokenMode;
  /** Name that separates several sessions of one site. */
  name?: string;
}

export class Rest {
  /** Absolute URL of the API; relative addresses start there. */
  readonly base: string;
  readonly #env: Environment;
  readonly #headers: () => Record<string, string>;
  readonly #credentials: RequestCredentials;
  readonly #wantsCookie: boolean;
  readonly #name: string | undefined;
  /** CSRF token, if the page cannot read Django's cookie. */
  #csrf: string | null = null;

  constructor(env: Environment, base: string, { headers, credentials, tokenMode, name }: LoginOptions = {}) {
    this.#env = env;
    this.base = base;
    this.#headers = headers ?? (() => ({}));
    this.#credentials = credentials ?? "same-origin";
    this.#wantsCookie = tokenMode === "cookie";
    this.#name = name;
  }

  /** Request the CSRF token; return false if the server has none for this page. */
  async fetchCsrf(signal?: AbortSignal): Promise<boolean> {
    const { body } = await this.sendRequest("GET", "login/", { signal });
    this.#csrf = isText(body?.csrf) ? body.csrf : null;
    return this.#csrf !== null;
  }

  /** Return an address of the server. Throws for another origin, which must never get the token. */
  resolveUrl(path: string): string {
    const url = new URL(path, this.base);
    if (url.origin !== new URL(this.base).origin) throw SessionError.local("foreign_origin", `${url} is of another origin, which gets no token: mend \`url\`.`);
    return url.href;
  }

  /** Send a request. Throws a SessionError: that of the server, or `network_error` (temporary) without an answer. */
  async sendRequest(method: string, path: string, options: RequestOptions = {}): Promise<Answer> {
    if (method === "GET" || options.token) return this.#sendOnce(method, path, options);
    const isProtected = this.#wantsCookie || options.token === "";
    if (isProtected && !this.#findCsrf()) await this.fetchCsrf(options.signal);
    try {
      return await this.#sendOnce(method, path, options);
    } catch (error) {
      // A login has changed the CSRF token, or the page does not know where it is.
      if (!(error instanceof SessionError) || !isForgery(error) || !(await this.fetchCsrf(options.signal))) throw error;
      return this.#sendOnce(method, path, options);
    }
  }

  /** Send JSON text unchanged, and return the unread answer, whatever its status. Rejects without an answer. */
  async postText(url: string, body: string, token: string, init: RequestInit = {}): Promise<Response> {
    if (token === "" && !this.#findCsrf()) await this.fetchCsrf();
    const send = (): Promise<Response> => {
      const headers = this.#buildHeaders({ body, token, headers: init.headers as Record<string, string> });
      return this.#fetch(this.resolveUrl(url), { ...init, method: "POST", cache: "no-store", headers, body });
    };
    const response = await send();
    // A login has changed the CSRF token, or the page does not know where it is.
    if (response.status !== 403 || token !== "" || !(await this.fetchCsrf())) return response;
    dropAnswer(response);
    return send();
  }

  /** Return the headers that prove a session by its token, or, if the token is empty, those beside its cookie. */
  proveSession(token: string): Record<string, string> {
    if (token) return { Authorization: `Bearer ${token}` };
    // The server finds the cookie of this page by its name.
    const named = this.#name === undefined ? {} : { "X-Session-Name": this.#name };
    const all = Object.entries({ ...named, ...this.#loginHeaders() });
    // With another proof of the page's login the server would ignore the cookie.
    return Object.fromEntries(all.filter(([name]) => name.toLowerCase() !== "authorization"));
  }

  async #sendOnce(method: string, path: string, options: RequestOptions): Promise<Answer> {
    // A request that cannot be sent is an error of the caller; only errors of the network are temporary.
    const url = this.resolveUrl(path);
    // Undefined means no body.
    const init = { method, headers: this.#buildHeaders(options), body: JSON.stringify(options.body) };
    const ask = async (signal: AbortSignal): Promise<Answer> =>
      readResponse(await this.#fetch(url, { ...init, signal }), url);
    try {
      return await limitTime(this.#env.clock, TIMEOUT, ask, options.signal);
    } catch (error) {
      options.signal?.throwIfAborted();
      if (error instanceof SessionError) throw error;
      throw SessionError.local("network_error", `No answer from ${url}: try again.`, true);
    }
  }

  /** Calls carry tokens and passwords of the page, so they follow no redirect to another address. */
  #fetch(url: string, init: RequestInit): Promise<Response> {
    return this.#env.fetch(url, { ...init, credentials: this.#credentials, redirect: "manual" });
  }

  #buildHeaders(options: RequestOptions): Record<string, string> {
    return {
      Accept: "application/json",
      ...(options.body === undefined ? {} : { "Content-Type": "application/json" }),
      ...(isText(options.token) ? this.proveSession(options.token) : this.#loginHeaders()),
      ...options.headers,
    };
  }

  /** Return the headers of the page's own login, which Django protects against forgery. */
  #loginHeaders(): Record<string, string> {
    const token = this.#findCsrf();
    return { ...(token ? { "X-CSRFToken": token } : {}), ...this.#headers() };
  }

  #findCsrf(): string | undefined {
    const cookie = typeof document === "undefined" ? null : /(?:^|; )csrftoken=([^;]+)/.exec(document.cookie);
    return this.#csrf ?? cookie?.[1];
  }
}

/** Drop the rest of an answer that nobody reads: its connection would stay open until the body ends. */
export function dropAnswer({ body }: Response): void {
  body?.cancel().catch(() => undefined);
}

/** Return the JSON of an answer. Throws a SessionError: that of the server, or one for an answer of another server. */
export async function readResponse(response: Response, url: string): Promise<Answer> {
  const { ok, status, headers } = response;
  const body = parseBody(await response.text());
  if (ok && (status === NO_CONTENT || body !== undefined)) return { body: body ?? null, etag: headers.get("ETag") };
  const temporary = status >= 500 || status === 429;
  // A redirect is not an answer of the API; a browser shows it with status 0.
  const fields = status >= 400 && typeof body === "object" && body !== null ? (body as ErrorFields) : {};
  if (fields.name || temporary) {
    throw new SessionError({ name: `http_${status}`, message: `${url} answered ${status}: try again.`, temporary, ...fields });
  }
  const message = `A portal or another site answers at ${url} (${status || "a redirect"}): mend \`url\`, or log in there.`;
  // This tells nothing about the session.
  throw new SessionError({ name: "not_our_server", message, temporary: true, retry_after: PORTAL_WAIT, status });
}

/** Return true if a request was refused because of its CSRF token, before it had any effect. */
function isForgery({ name, facts }: SessionError): boolean {
  return name === "permission_denied" || facts.status === 403;
}

/** Parse the JSON of an answer; return undefined if it is not JSON. */
function parseBody(text: string): Json | undefined {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
