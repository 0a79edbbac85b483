/** HTTP requests (PROTOCOL section 13). */

import type { Environment } from "./environment";
import { SessionError, type ErrorFields } from "./errors";
import type { Json } from "./values";

const TIMEOUT = 20_000;

export interface Answer {
  body: Json;
  etag: string | null;
}

export interface RequestOptions {
  body?: unknown;
  /** Goes into the Authorization header; without it the call has the page's own login. */
  token?: string | null;
  headers?: Record<string, string>;
  /** Ends the request, which then rejects with the signal's reason. */
  signal?: AbortSignal;
}

/** How calls carry the page's own login. */
export interface LoginOptions {
  headers?: () => Record<string, string>;
  credentials?: RequestCredentials;
}

export class Rest {
  /** Absolute URL of the API, where relative addresses start. */
  readonly base: string;
  readonly #env: Environment;
  readonly #headers: () => Record<string, string>;
  readonly #credentials: RequestCredentials;
  /** Token against forgery, where the page cannot read Django's cookie. */
  #csrf: string | null = null;

  constructor(env: Environment, base: string, { headers, credentials }: LoginOptions = {}) {
    this.#env = env;
    this.base = base;
    this.#headers = headers ?? (() => ({}));
    this.#credentials = credentials ?? "same-origin";
  }

  /** Ask the server for the token against forgery; return false if it has none for this page. */
  async fetchCsrf(signal?: AbortSignal): Promise<boolean> {
    const { body } = await this.sendRequest("GET", "login/", { signal });
    this.#csrf = typeof body?.csrf === "string" ? body.csrf : null;
    return this.#csrf !== null;
  }

  /** Return an address of the server; throws for another origin, which must never get the token. */
  resolveUrl(path: string): string {
    const url = new URL(path, this.base);
    if (url.origin !== new URL(this.base).origin) throw SessionError.local("foreign_origin", "Not the API's origin.");
    return url.href;
  }

  /** Send a request. Throws a SessionError: the server's own, or `network_error` (temporary) without an answer. */
  async sendRequest(method: string, path: string, options: RequestOptions = {}): Promise<Answer> {
    const impatience = new AbortController();
    const timer = this.#env.clock.setTimeout(() => impatience.abort(), TIMEOUT);
    const stop = (): void => impatience.abort();
    options.signal?.addEventListener("abort", stop, { once: true });
    try {
      options.signal?.throwIfAborted();
      const response = await this.#env.fetch(this.resolveUrl(path), {
        method,
        headers: this.#buildHeaders(options),
        credentials: this.#credentials,
        signal: impatience.signal,
        ...(options.body === undefined ? {} : { body: JSON.stringify(options.body) }),
      });
      return await readResponse(response);
    } catch (error) {
      if (options.signal?.aborted) throw options.signal.reason;
      if (error instanceof SessionError) throw error;
      throw SessionError.local("network_error", "The server did not answer.", true);
    } finally {
      this.#env.clock.clearTimeout(timer);
      options.signal?.removeEventListener("abort", stop);
    }
  }

  #buildHeaders(options: RequestOptions): Record<string, string> {
    return {
      Accept: "application/json",
      ...(options.body === undefined ? {} : { "Content-Type": "application/json" }),
      ...(options.token ? { Authorization: `Bearer ${options.token}` } : this.#loginHeaders()),
      ...options.headers,
    };
  }

  /** Return the headers of the page's own login, which Django protects against forgery. */
  #loginHeaders(): Record<string, string> {
    const cookie = typeof document === "undefined" ? null : /(?:^|; )csrftoken=([^;]+)/.exec(document.cookie);
    const token = this.#csrf ?? cookie?.[1];
    return { ...(token ? { "X-CSRFToken": token } : {}), ...this.#headers() };
  }
}

async function readResponse(response: Response): Promise<Answer> {
  const text = await response.text();
  const body = parseBody(text);
  if (response.ok) return { body, etag: response.headers.get("ETag") };
  const fields = typeof body === "object" && body !== null ? (body as ErrorFields) : {};
  throw new SessionError({
    name: `http_${response.status}`,
    message: `The server answered ${response.status}.`,
    temporary: response.status >= 500 || response.status === 429,
    ...fields,
  });
}

function parseBody(text: string): Json {
  try {
    return text === "" ? null : JSON.parse(text);
  } catch {
    return null;
  }
}
