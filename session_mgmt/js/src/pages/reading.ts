/** Requests for pages, with the proof of the session. */

import { SessionError } from "../errors";
import { readResponse } from "../rest";
import type { Page } from "./segment";
import type { PagesOptions } from "./shown";

const TIMEOUT = 20_000;

/** Read a page. Throws a SessionError: that of the server, or `network_error` (temporary) without an answer. */
export async function readPage<Row>(
  url: string,
  { fetch = globalThis.fetch, headers }: PagesOptions,
  proof: Record<string, string>,
  signal: AbortSignal,
): Promise<Page<Row>> {
  const impatience = new AbortController();
  const stop = (): void => impatience.abort();
  const timer = setTimeout(stop, TIMEOUT);
  signal.addEventListener("abort", stop, { once: true });
  try {
    const init = { method: "GET", credentials: "same-origin", redirect: "manual", cache: "no-store" } as const;
    const all = { Accept: "application/json", ...proof, ...headers };
    const response = await fetch(url, { ...init, headers: all, signal: impatience.signal });
    return checkPage<Row>(await readResponse(response, url).then(({ body }) => body, (error) => explain(error, response)));
  } catch (error) {
    if (error instanceof SessionError) throw error;
    throw SessionError.local("network_error", `No answer from ${url}: try again.`, true);
  } finally {
    clearTimeout(timer);
    signal.removeEventListener("abort", stop);
  }
}

/** Throw a refusal with its meaning: the view belongs to the site, and may answer in its own form. */
function explain(error: SessionError, { status, url, headers }: Response): never {
  const isOthers = error.name === "not_our_server" && status >= 400 && headers.get("Content-Type")?.includes("json");
  const told = isOthers ? { name: status === 403 ? "forbidden" : `http_${status}`, message: `${url} answered ${status}.` } : null;
  if (!told && status !== 401) throw error;
  const { code, name, message } = error;
  // The client gets another token by itself.
  throw new SessionError({ ...error.facts, code, name, message, ...told, temporary: status === 401 });
}

function checkPage<Row>(body: Page<Row> | null): Page<Row> {
  if (body?.live) return body;
  throw SessionError.local("not_live", "The page has no live part: its view needs a topic, and the request a session.");
}
