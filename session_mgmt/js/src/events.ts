/** Events that an application can listen to with `session.on`. */

import type { SessionError } from "./errors";
import type { Conflict, Position, RecoveryReceipt, SuccessorReceipt, WriteFrame } from "./frames";
import type { Carrier } from "./transport";
import type { Json } from "./values";

/** Twelve events of the session's own log (docs/reference/events.md). */
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

/** Why the status is what it is: the close code and its name; code 0 for what this client found itself. */
export interface StatusReason {
  code: number;
  name: string;
}

/** Entry of the session's log. `position` is null for an event that this client made itself: a refused token. */
export interface SessionEntry {
  type: string;
  data: Json;
  at: string | null;
  position: Position | null;
}

export interface Gap {
  log: string;
  /** Name of the topic, or null for the session's own log. */
  topic: string | null;
  /** First and last entry that are lost; `from` is null if nobody knows. */
  from: number | null;
  to: number | null;
  reason: string;
}

/** Range of a topic of which a slow reader was given only the newest entries by their key. */
export type Conflated = Omit<Gap, "reason">;

/** Write that nobody will answer any more; `seq` is the number that it had. */
export interface UnsentWrite {
  seq: number;
  write: WriteFrame;
}

/** Report of an update whose place somebody else had changed. */
export interface ConflictReport {
  document: string;
  seq: number;
  /** Paths of operations that were left out, and of values of others that were overwritten. */
  dropped: string[];
  overwrote: string[];
  conflicts: Conflict[];
  /** Conflicts that the report had no room for. */
  more: number;
  /** The update was a closed tab's, so no promise tells its result. */
  orphan?: boolean;
}

/** Writes without an answer. */
export interface PendingReport {
  /** Of this tab and of closed ones. */
  count: number;
  /** Of closed tabs of this browser. */
  orphaned: number;
  /** True if all of them would survive this tab. */
  durable: boolean;
}

/** Writes of a closed tab that this tab has sent. */
export interface AdoptedReport {
  count: number;
}

type TimelineEvents = { [T in EventType]: [data: Json, entry: SessionEntry] };

/** Report of a document whose value comes from its local copy, or no longer does. */
export interface CacheReport {
  document: string;
  fromCache: boolean;
}

/** How this page got its session, and whose it is; `userId` is null for nobody. */
export interface IdentityReport {
  verdict: "created" | "continued" | "claimed" | "recovered";
  reason: string;
  userId: string | null;
}

/** End of a session: nothing of it is left in this tab. */
export interface EndReport {
  reason: string;
}

/** Beats of the server that did not come, in a row; the next frame of any kind begins anew. */
export interface MissedReport {
  missed: number;
}

/** Newer version of this client on the server; `wanted` is null if the server has not told it. */
export interface UpdateReport {
  current: string;
  wanted: string | null;
  /** The server told a higher version, or has no files of this one any more. */
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
