/** Frames of PROTOCOL sections 2 to 10, as this client writes and reads them. */

import { isText } from "./arguments";
import type { RetryPolicy } from "./backoff";
import type { ErrorFields } from "./errors";
import type { Operation } from "./operations";
import type { Replaced } from "./replaced";
import type { Json, JsonObject } from "./values";

export const SUBPROTOCOL = "session-mgmt.v1";
/** Version of this client and of the server that delivers it. */
export const VERSION = "0.1.0";
export const AGENT = `js/${VERSION}`;

/** Position in a log. Two positions are equal only if epoch, offset and tag are equal. */
export type Position = readonly [epoch: string, offset: number, tag: string];

export function isPosition(value: unknown): value is Position {
  if (!Array.isArray(value) || value.length !== 3) return false;
  const [epoch, offset, tag] = value;
  return isText(epoch) && Number.isSafeInteger(offset) && offset >= 0 && isText(tag);
}

export interface Verdict {
  mode: "up_to_date" | "entries" | "snapshot" | "gap" | "denied";
  reason?: string;
  from?: number | null;
  to?: number | null;
  position?: Position;
  error?: ErrorFields;
  /** False if entries since the requested time are no longer kept. */
  complete?: boolean;
  /** Proof of the right to read a topic, for polls. */
  grant?: string;
  /** True if the server stores this document encrypted. */
  encrypted?: boolean;
}

export interface SessionFields {
  session_id: string;
  user_id: string | null;
  state: "active" | "expired" | "terminated";
  created_at: string;
  last_active_at: string;
  expires_at: string;
  connection_state: string;
  label?: string;
  metadata: JsonObject;
}

export interface ConnectedFrame {
  type: "connected";
  session: SessionFields;
  client_id: string;
  generation: number;
  last_seq: number;
  went_back: boolean;
  verdict: "full" | "state_only" | "none";
  reason: string;
  logs: Record<string, Verdict>;
  subscriptions?: string[];
  heartbeat?: Beats;
  limits?: Record<string, number>;
  retry?: RetryPolicy;
  endpoints?: Endpoints;
  /** Id of this recovery. Polls repeat it until the recovery is complete. */
  recovery?: string | null;
  /** Version of the client that this server delivers; absent on servers that are older than this field. */
  sdk?: string;
}

/** Heartbeat of a connection: seconds between two beats, beats that may be missed, and the silence that ends it. */
export interface Beats {
  interval: number;
  missed_limit: number;
  deadline: number;
  /** Seconds for which the server collects frames. */
  batch?: number;
}

export interface Endpoints {
  websocket: string;
  session: string;
  /** Address of the calls for connections over HTTP; absent if the server has none, or if an older client asked. */
  connections?: string;
  poll?: string;
  frames?: string;
  leave?: string;
}

export interface EntriesFrame {
  type: "entries";
  log: string;
  epoch: string;
  entries: [offset: number, tag: string, body: Json][];
  recovered?: boolean;
  /**
   * The frame stands for all entries from the one after this offset up to `position`, but does not contain all of them.
   */
  prev?: number;
  position?: Position;
  /** Each omitted entry has a newer entry with the same key in the frame. */
  conflated?: boolean;
}

export interface SnapshotFrame {
  type: "snapshot";
  log: string;
  position: Position;
  data?: Json;
  url?: string;
  reason?: string;
}

export interface GapFrame extends Verdict {
  type: "gap";
  log: string;
}

export interface ReceiptFrame {
  type: "receipt";
  seq: number;
  ok: boolean;
  replayed?: boolean;
  position?: Position;
  unchanged?: boolean;
  dropped?: string[];
  overwrote?: string[];
  conflicts?: Conflict[];
  /** Number of conflicts that the report leaves out. */
  more?: number;
  data?: Json;
  error?: ErrorFields;
}

/** Conflict of two changes of one path. Absent values are omitted; `cut` tells that values were left out. */
export interface Conflict {
  path: string;
  kept: "server" | "client" | "resolver";
  base?: Json;
  server?: Json;
  client?: Json;
  cut?: boolean;
  /** Id of the record that `manual` keeps. */
  id?: string;
}

export type Strategy = "merge" | "server_wins" | "client_wins" | "reject" | "manual";

export interface ByeFrame {
  type: "bye";
  code: number;
  name: string;
  reconnect: boolean;
  retry_after: number | null;
  reason?: string;
}

export interface RecoveryReceipt {
  id: string;
  verdict: "full" | "state_only" | "none";
  reason: string;
  generation: number;
  asked: Record<string, Position | null>;
  replayed: Record<string, [number, number]>;
  lost: Record<string, [number | null, number]>;
  duration_ms: number;
  queries: number;
}

/** Receipt of a session that succeeds an expired one. */
export interface SuccessorReceipt {
  verdict: "state_only" | "none";
  reason: string;
  recovered_from: string;
  documents: string[];
  subscriptions: string[];
}

export interface ErrorFrame extends ErrorFields {
  type: "error";
  id?: number;
  /** Log that the server stopped following, because the client may no longer read it. */
  log?: string;
  seq?: number;
}

export type ServerFrame =
  | ConnectedFrame
  | EntriesFrame
  | SnapshotFrame
  | GapFrame
  | ReceiptFrame
  | ByeFrame
  | { type: "grants"; grants: Record<string, string> }
  | { type: "again" }
  | { type: "recovery"; receipt: RecoveryReceipt }
  | { type: "reply"; id: number; verdict?: Verdict; access?: string }
  | ErrorFrame
  | { type: "ping"; ping: number; rtt_ms?: number | null }
  | { type: "pong"; id: number; server_time?: string }
  | { type: "ephemeral"; topic: string; data: Json };

/** Write without its number. It is stored, and sent again unchanged except for its base. */
export type WriteFrame = UpdateFrame | PublishFrame | SendFrame;

export interface UpdateFrame {
  type: "update";
  doc: string;
  base?: number;
  epoch?: string;
  /** Tag that proves that the base belongs to the server's history. */
  tag?: string;
  strategy?: Strategy;
  /** Refuse the whole update unless every operation takes effect. */
  atomic?: boolean;
  /** Digests of the replaced values. They are sent only if `unseen` is true; `unseen` itself is never sent. */
  replaced?: Replaced;
  /** Write only if the document was never written. */
  if_absent?: boolean;
  /** True if the base of the update is gone. */
  unseen?: boolean;
  ops?: Operation[];
  merge?: Json;
  data?: Json;
}

export interface PublishFrame {
  type: "publish";
  topic: string;
  data: Json;
  key?: string;
}

export interface SendFrame {
  type: "send";
  data: Json;
}

/** Return a frame of the server, or null for text that is not a JSON object with a `type`. */
export function decodeFrame(text: unknown): ServerFrame | null {
  if (!isText(text)) return null;
  try {
    const frame: unknown = JSON.parse(text);
    const known = typeof frame === "object" && frame !== null && isText((frame as { type?: unknown }).type);
    return known ? (frame as ServerFrame) : null;
  } catch {
    return null;
  }
}
