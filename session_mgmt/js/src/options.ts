/** Options of the start, and their effects before there is a client. */

import type { SyncOptions } from "./batch";
import { Copies } from "./copies";
import type { CreateOptions } from "./credentials";
import type { Owner } from "./database";
import type { Emitter } from "./emitter";
import type { Environment, Surroundings } from "./environment";
import { SessionError } from "./errors";
import type { SessionEvents } from "./events";
import type { Strategy } from "./frames";
import type { OutboxBounds } from "./outbox";

export interface CacheOptions {
  store: "indexeddb";
  /** Keep copies of documents that the server stores encrypted too; in this browser they are not. */
  encrypted?: boolean;
}

export interface StartOptions extends Surroundings {
  /** Address where `session_mgmt.urls` is included. */
  url?: string;
  /** `browser`: the tabs of a browser share one session; `tab`: each has its own. */
  share?: "browser" | "tab";
  /** Separates several sessions of one site. */
  name?: string;
  /** Separates several clients of one page, or of frames of one tab; each needs its own. */
  slot?: string;
  /** Further headers of calls that use the page's own login, such as a CSRF token under another name. */
  headers?: () => Record<string, string>;
  create?: CreateOptions;
  autoConnect?: boolean;
  outbox?: Partial<OutboxBounds>;
  /** Settles conflicts of updates that name no strategy; without it the server's settings do. */
  strategy?: Strategy;
  /** Send updates at once, or gather them (200 and 2000 milliseconds by default). */
  sync?: SyncOptions;
  /** Keep documents in this browser, so that they are seen before the server answers, or without a network. */
  cache?: "indexeddb" | CacheOptions;
  /** The `user_id` of the logged-in user, null for nobody; another user's session is not continued. */
  user?: string | number | null;
}

/** Report the application of an error. */
export type Tell = (error: SessionError) => void;

/** Report errors once the application has had its chance to listen. */
export function makeTeller(env: Environment, emitter: Emitter<SessionEvents>): Tell {
  return (error) => void env.clock.setTimeout(() => emitter.emit("error", error), 0);
}

/** Report once that storage fails, however often it does. */
export function makeWarning(tell: Tell): () => void {
  let warned = false;
  return () => {
    if (warned) return;
    warned = true;
    tell(SessionError.local("storage_unavailable", "The browser keeps nothing; a reload loses what waits."));
  };
}

/** Open the local copies; return null if none are wanted. */
export async function openCopies(
  { cache, share }: StartOptions,
  env: Environment,
  owner: Owner,
  tell: Tell,
): Promise<Copies | null> {
  if (!cache) return null;
  if (share !== "tab") return Copies.open(env, owner, tell);
  // Its session ends with the tab, and nobody would remove what it leaves.
  tell(SessionError.local("cache_unavailable", "A session of one tab keeps no local copies."));
  return null;
}

/** Return the absolute address of the API. */
export function resolveBase(url: string): string {
  const page = typeof location === "undefined" ? undefined : location.href;
  const base = new URL(url, page).href;
  return base.endsWith("/") ? base : `${base}/`;
}
