/** HTTP requests (PROTOCOL section 13). */

import { isText } from "./arguments";
import type { TokenMode } from "./credentials";
import type { Environment } from "./environment";
import { SessionError, type ErrorFields } from "./errors";
import { limitTime } from "./pause";
import type { Json } from "./values";

const TIMEOUT = 20_000;
const NO_CONTENT = 204;
/** Seconds after which to look again where somebody else has answered, such as the portal of a public network. */
export const PORTAL_WAIT = 15;

export interface Answer {
  body: Json;
  etag: string | null;
}

export interface RequestOptions {
  body?: unknown;
  /** Goes into the Authorization header; empty if the session's cookie goes along; without it, only the page's login. */
  token?: string | null;
  headers?: Record<string, string>;
  /** Ends the request, which then rejects with the signal's reason. */
  signal?: AbortSignal;
}

/** How calls carry the page's own login. */
export interface LoginOptions {
  headers?: () => Record<string, string>;
  credentials?: RequestCredentials;
  tokenMode?: TokenMode;
  /** Name of the page's session among those of the site. */
  name?: string;
}

export class Rest {
  /** Absolute URL of the API, where relative addresses start. */
  readonly base: string;
  readonly #env: Environment;
  readonly #headers: () => Record<string, string>;
  readonly #credentials: RequestCredentials;
  readonly #wantsCookie: boolean;
  readonly #name: string | undefined;
  /** Token against forgery, where the page cannot read Django's cookie. */
  #csrf: string | null = null;

  constructor(env: Environment, base: string, { headers, credentials, tokenMode, name }: LoginOptions = {}) {
    this.#env = env;
    this.base = base;
    this.#headers = headers ?? (() => ({}));
    this.#credentials = credentials ?? "same-origin";
    this.#wantsCookie = tokenMode === "cookie";
    this.#name = name;
  }

  /** Ask the server for the token against forgery; return false if it has none for this page. */
  async fetchCsrf(signal?: AbortSignal): Promise<boolean> {
    const { body } = await this.sendRequest("GET", "login/", { signal });
    this.#csrf = isText(body?.csrf) ? body.csrf : null;
    return this.#csrf !== null;
  }

  /** Return an address of the server; throws for another origin, which must never get the token. */
  resolveUrl(path: string): string {
    const url = new URL(path, this.base);
    if (url.origin !== new URL(this.base).origin) throw SessionError.local("foreign_origin", `${url} is of another origin, which gets no token: mend \`url\`.`);
    return url.href;
  }

  /** Send a request. Throws a SessionError: the server's own, or `network_error` (temporary) without an answer. */
  async sendRequest(method: string, path: string, options: RequestOptions = {}): Promise<Answer> {
    if (method === "GET" || options.token) return this.#sendOnce(method, path, options);
    const isProtected = this.#wantsCookie || options.token === "";
    if (isProtected && !this.#findCsrf()) await this.fetchCsrf(options.signal);
    try {
      return await this.#sendOnce(method, path, options);
    } catch (error) {
      // A login has changed the token against forgery, or it is in a place that this page does not know.
      if (!(error instanceof SessionError) || !isForgery(error) || !(await this.fetchCsrf(options.signal))) throw error;
      return this.#sendOnce(method, path, options);
    }
  }

  /** Send JSON text as it is, and return the answer unread, whatever it is. Rejects without one. */
  async postText(url: string, body: string, token: string, init: RequestInit = {}): Promise<Response> {
    if (token === "" && !this.#findCsrf()) await this.fetchCsrf();
    const send = (): Promise<Response> => {
      const headers = this.#buildHeaders({ body, token, headers: init.headers as Record<string, string> });
      return this.#fetch(this.resolveUrl(url), { ...init, method: "POST", cache: "no-store", headers, body });
    };
    const response = await send();
    // A login has changed the token against forgery, or it is in a place that this page does not know.
    if (response.status !== 403 || token !== "" || !(await this.fetchCsrf())) return response;
    return send();
  }

  /** Return the headers that prove a session by its token, or beside its cookie if the token is empty. */
  proveSession(token: string): Record<string, string> {
    if (token) return { Authorization: `Bearer ${token}` };
    // By its name the server finds the cookie of this page.
    const named = this.#name === undefined ? {} : { "X-Session-Name": this.#name };
    const all = Object.entries({ ...named, ...this.#loginHeaders() });
    // With another proof of the page's login the server would not look at the cookie.
    return Object.fromEntries(all.filter(([name]) => name.toLowerCase() !== "authorization"));
  }

  async #sendOnce(method: string, path: string, options: RequestOptions): Promise<Answer> {
    // What cannot be sent is the caller's fault, and not the network's, which is worth another try.
    const url = this.resolveUrl(path);
    // Undefined is no body.
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

  /** Calls have tokens and passwords of the page with them: they follow no redirect to another address. */
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

/** Return the JSON of an answer. Throws a SessionError: the server's own, or one for what is no answer of a server. */
export async function readResponse(response: Response, url: string): Promise<Answer> {
  const { ok, status, headers } = response;
  const body = parseBody(await response.text());
  if (ok && (status === NO_CONTENT || body !== undefined)) return { body: body ?? null, etag: headers.get("ETag") };
  const temporary = status >= 500 || status === 429;
  // A redirect says nothing of ours; a browser shows it with status 0.
  const fields = status >= 400 && typeof body === "object" && body !== null ? (body as ErrorFields) : {};
  if (fields.name || temporary) {
    throw new SessionError({ name: `http_${status}`, message: `${url} answered ${status}: try again.`, temporary, ...fields });
  }
  const message = `A portal or another site answers at ${url} (${status || "a redirect"}): mend \`url\`, or log in there.`;
  // Says nothing about the session.
  throw new SessionError({ name: "not_our_server", message, temporary: true, retry_after: PORTAL_WAIT, status });
}

/** Return true for a refusal that a request without a good token against forgery gets, before anything has happened. */
function isForgery({ name, facts }: SessionError): boolean {
  return name === "permission_denied" || facts.status === 403;
}

/** Return the JSON of an answer, undefined if it is none. */
function parseBody(text: string): Json | undefined {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
