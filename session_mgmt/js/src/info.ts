/** Facts about a session, in camel case. */

import type { Status } from "./events";
import type { SessionFields, SuccessorReceipt } from "./frames";
import type { Latency } from "./stats";
import type { JsonObject } from "./values";

export interface Validation {
  valid: boolean;
  /** Reason why the session is not valid; null if it is. */
  reason: string | null;
}

/** Connection as the server has recorded it. Times are ISO 8601, latencies are milliseconds. */
export interface ConnectionFigures {
  client_id: string;
  generation: number;
  transport: "websocket" | "sse" | "longpoll";
  state: "open" | "lost" | "closed";
  opened_at: string;
  closed_at: string | null;
  close_code: number | null;
  closed_by: string;
  latency: Latency;
  beats: { sent: number; missed: number };
  messages: { in: number; out: number };
  bytes: { in: number; out: number };
  /** Verdict of the recovery at its beginning; null if there was none. */
  recovery: "full" | "state_only" | "none" | null;
}

export interface CreatedSession {
  session: SessionInfo;
  token: string;
}

export interface RecoveredSession extends CreatedSession {
  receipt: SuccessorReceipt | null;
}

export interface SessionInfo {
  sessionId: string;
  userId: string | null;
  state: "active" | "expired" | "terminated";
  createdAt: string;
  lastActiveAt: string;
  expiresAt: string;
  connectionState: Status;
  /** Name of this browser, for people. */
  label: string;
  metadata: JsonObject;
}

export function toSessionInfo(fields: SessionFields, connectionState = fields.connection_state as Status): SessionInfo {
  return {
    sessionId: fields.session_id,
    userId: fields.user_id,
    state: fields.state,
    createdAt: fields.created_at,
    lastActiveAt: fields.last_active_at,
    expiresAt: fields.expires_at,
    connectionState,
    label: fields.label ?? "",
    metadata: fields.metadata,
  };
}
