/** Events for `session.on`. */

import type { SessionError } from "./errors";
import type { Conflict, Position, RecoveryReceipt, SuccessorReceipt, WriteFrame } from "./frames";
import type { Carrier } from "./transport";
import type { Json } from "./values";

/** The twelve events in the log of the session (docs/reference/events.md). */
export const EVENT_TYPES = [
  "session_created",
  "session_updated",
  "session_expired",
  "session_terminated",
  "connection_established",
  "connection_lost",
  "connection_restored",
  "auth_required",
  "auth_success",
  "auth_failed",
  "state_synchronized",
  "error_occurred",
] as const;

export type EventType = (typeof EVENT_TYPES)[number];

export type Status = "connecting" | "connected" | "reconnecting" | "disconnected" | "failed";

/** Close code and its name, as the reason of a status; code 0 if the client itself found it. */
export interface StatusReason {
  code: number;
  name: string;
}

/**
 * Entry in the log of the session. `position` is null if the client itself made the event, for example for a refused
 * token.
 */
export interface SessionEntry {
  type: string;
  data: Json;
  at: string | null;
  position: Position | null;
}

export interface Gap {
  log: string;
  /** Name of the topic; null for the log of the session. */
  topic: string | null;
  /** First and last lost entry; `from` is null if it is unknown. */
  from: number | null;
  to: number | null;
  reason: string;
}

/** Range of a topic of which a slow reader received only the newest entry for each key. */
export type Conflated = Omit<Gap, "reason">;

/** Write that will get no answer; `seq` was its number. */
export interface UnsentWrite {
  seq: number;
  write: WriteFrame;
}

/** Report of an update of a value that another client had changed. */
export interface ConflictReport {
  document: string;
  seq: number;
  /** `dropped` lists operations that were left out, `overwrote` values of other clients that were overwritten. */
  dropped: string[];
  overwrote: string[];
  conflicts: Conflict[];
  /** Number of conflicts that the report leaves out. */
  more: number;
  /** True if a closed tab made the update, so that no promise has its result. */
  orphan?: boolean;
}

/** Writes without an answer. */
export interface PendingReport {
  /** Number of writes of this tab and of closed tabs. */
  count: number;
  /** Number of writes of closed tabs of this browser. */
  orphaned: number;
  /** True if all of them would survive the end of this tab. */
  durable: boolean;
}

/** Writes of a closed tab that this tab has sent. */
export interface AdoptedReport {
  count: number;
}

type TimelineEvents = { [T in EventType]: [data: Json, entry: SessionEntry] };

/** Report that the value of a document comes from its local copy, or no longer does. */
export interface CacheReport {
  document: string;
  fromCache: boolean;
}

/** Origin of the session of this page, and its user; `userId` is null for an anonymous session. */
export interface IdentityReport {
  verdict: "created" | "continued" | "claimed" | "recovered";
  reason: string;
  userId: string | null;
}

/** End of a session. This tab has removed everything of it. */
export interface EndReport {
  reason: string;
}

/** Number of server beats that were missed in a row. The next frame of any kind resets it. */
export interface MissedReport {
  missed: number;
}

/** Newer version of this client on the server; `wanted` is null if the server has not named it. */
export interface UpdateReport {
  current: string;
  wanted: string | null;
  /** The server named a newer version, or has removed the files of this version. */
  reason: "server_newer" | "parts_gone";
}

export interface SessionEvents extends TimelineEvents {
  status: [status: Status, reason: StatusReason | null];
  heartbeat_missed: [report: MissedReport];
  transport: [name: Carrier];
  recovery: [receipt: RecoveryReceipt | SuccessorReceipt];
  gap: [gap: Gap];
  conflated: [range: Conflated];
  message: [data: Json, entry: SessionEntry];
  cache: [report: CacheReport];
  conflict: [report: ConflictReport];
  pending: [report: PendingReport];
  adopted: [report: AdoptedReport];
  unsent: [writes: UnsentWrite[], reason: string];
  identity: [report: IdentityReport];
  ended: [report: EndReport];
  update_available: [report: UpdateReport];
  error: [error: SessionError];
  "*": [type: EventType, data: Json, entry: SessionEntry];
}

export function isEventType(type: string): type is EventType {
  return (EVENT_TYPES as readonly string[]).includes(type);
}
