/** Options of the start. */

import type { SyncOptions } from "./batch";
import type { TokenMode } from "./credentials";
import type { Surroundings } from "./environment";
import type { SessionError } from "./errors";
import type { Strategy } from "./frames";
import type { Part } from "./loading";
import type { OutboxBounds } from "./outbox";
import type { Schema } from "./schema";
import type { TransportName } from "./transport";
import type { JsonObject } from "./values";

export interface CreateOptions {
  metadata?: JsonObject;
  config?: JsonObject;
  /** Name that people give this browser. */
  label?: string;
}

/** Document of a visitor's session, for the question whether its user takes it over. */
export interface VisitorDocument {
  name: string;
  version: number;
}

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
  /**
   * Only proof that the page takes; without it, the one that the server gives. With `cookie` the page holds no secret:
   * a cookie that no script can read proves its session, which all tabs share.
   */
  tokenMode?: TokenMode;
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
  /**
   * Key of the user whom the page was made for, null for nobody. Only for speed: without it, the server is asked before
   * anything is shown. If somebody else is logged in, the start is refused with `login_mismatch`.
   */
  user?: string | number | null;
  /**
   * Without an answer of the server, at a start with a user's session: `wait` (default) shows nothing of it until the
   * server has confirmed who is logged in; `kept` shows the local copies at once, for somebody's own device.
   */
  whenOffline?: "wait" | "kept";
  /** As of `fetch`: `include` for an API on another origin that gets this page's cookies. */
  credentials?: "same-origin" | "include";
  /** Decides what becomes of a visitor's session when he logs in, if the server asks; without it he starts afresh. */
  onAsk?: (documents: VisitorDocument[]) => "claim" | "fresh" | Promise<"claim" | "fresh">;
  /**
   * Transports that the page allows. Without it all: a WebSocket, and HTTP where none gets through, by streams (`sse`) or,
   * where something holds them back, by long polls. What speaks HTTP is loaded when it is needed.
   */
  transports?: readonly TransportName[];
  /**
   * One connection for all tabs of the session: one of them leads, the others take from it what the server says, and
   * write over HTTP. Needs Web Locks and BroadcastChannel; without them each tab has its own connection, as by default.
   */
  oneSocket?: boolean;
  /**
   * Parts that are in the page's own scripts and not loaded later. To name them here is enough: a bundler makes one
   * module of such a part and of the one that the client loads.
   */
  parts?: readonly Part[];
  /** Ends the start, which then rejects with the signal's reason; it has no effect on the client that was started. */
  signal?: AbortSignal;
  /**
   * Checks the document `main`: a write that would break it is refused with `schema_mismatch`; a value of the server's
   * that does is shown, and told as an `error`.
   */
  schema?: Schema;
  /** Hears every error from the start on, as a listener of `error` does that was there before the start. */
  onError?: (error: SessionError) => void;
}
