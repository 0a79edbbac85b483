/** Options of `SessionClient.start`. */

import type { SyncOptions } from "./batch";
import type { TokenMode } from "./credentials";
import type { Surroundings } from "./environment";
import type { SessionError } from "./errors";
import type { Strategy } from "./frames";
import type { OutboxBounds } from "./outbox";
import type { Schema } from "./schema";
import type { TransportName } from "./transport";
import type { JsonObject } from "./values";

/** Part of the client, as an entry of the package exports it, for example `session-mgmt-client/http`. */
export type Part = (shared: never) => object;

export interface CreateOptions {
  metadata?: JsonObject;
  config?: JsonObject;
  /** Name of this browser, for people. */
  label?: string;
}

/** Document of a visitor's session. The user decides whether to take over the session with these documents. */
export interface VisitorDocument {
  name: string;
  version: number;
}

export interface CacheOptions {
  store: "indexeddb";
  /** Also keep copies of documents that the server stores encrypted. The copies in this browser are not encrypted. */
  encrypted?: boolean;
}

export interface StartOptions extends Surroundings {
  /** Address where the site includes `session_mgmt.urls`. */
  url?: string;
  /** With `browser` all tabs of a browser share one session; with `tab` each tab has its own session. */
  share?: "browser" | "tab";
  /** Name that separates several sessions of one site. */
  name?: string;
  /**
   * Only kind of proof that the page accepts; by default the kind that the server uses. With `cookie` the page holds no
   * secret: a cookie that no script can read proves the session, and all tabs share it.
   */
  tokenMode?: TokenMode;
  /** Name that separates several clients of one page, or of frames in one tab. Each of them needs its own. */
  slot?: string;
  /** Return more headers for calls that use the page's own login, such as a CSRF token with another header name. */
  headers?: () => Record<string, string>;
  create?: CreateOptions;
  autoConnect?: boolean;
  outbox?: Partial<OutboxBounds>;
  /** Strategy for conflicts of updates that name no strategy; by default the settings of the server decide. */
  strategy?: Strategy;
  /** Send updates at once, or collect them first (by default for 200 ms, at most 2000 ms). */
  sync?: SyncOptions;
  /** Keep documents in this browser, to show them before the server answers and without a network. */
  cache?: "indexeddb" | CacheOptions;
  /**
   * Key of the user for whom the server made the page; null for nobody. It only makes the start faster: without it, the
   * client asks the server before it shows anything. If another user is logged in, the start rejects with
   * `login_mismatch`.
   */
  user?: string | number | null;
  /**
   * What to do if the server does not answer and the kept session belongs to a user. `wait` (default) shows nothing
   * until the server has confirmed who is logged in. `kept` shows the local copies at once; use it for a device that
   * belongs to one person.
   */
  whenOffline?: "wait" | "kept";
  /**
   * Option `credentials` of `fetch`: `include` is for an API on another origin that accepts the cookies of this page.
   */
  credentials?: "same-origin" | "include";
  /**
   * Decide what happens to a visitor's session when the visitor logs in, if the server asks. By default the user starts
   * with a new session.
   */
  onAsk?: (documents: VisitorDocument[]) => "claim" | "fresh" | Promise<"claim" | "fresh">;
  /**
   * Transports that the page allows; by default all. The client prefers a WebSocket. Where none can connect, it uses
   * HTTP: streams (`sse`), or long polls (`longpoll`) where a proxy holds streams back. The code for HTTP is loaded
   * when it is needed.
   */
  transports?: readonly TransportName[];
  /**
   * Use one connection for all tabs of the session: one tab leads and passes on what the server sends; the other tabs
   * write over HTTP. This needs Web Locks and BroadcastChannel. Without them each tab has its own connection, as by
   * default.
   */
  oneSocket?: boolean;
  /**
   * Parts that are in the page's own scripts, so that the client does not load them later. It is enough to name them
   * here: a bundler makes one module of the named part and of the part that the client loads.
   */
  parts?: readonly Part[];
  /** End the start, which then rejects with the reason of the signal. It has no effect after the start. */
  signal?: AbortSignal;
  /**
   * Check the document `main`. A write that would break the schema is refused with `schema_mismatch`. A value of the
   * server that breaks it is shown, and reported as an `error`.
   */
  schema?: Schema;
  /**
   * Receive every error from the beginning of the start, like a listener of `error` that was there before the start.
   */
  onError?: (error: SessionError) => void;
}
