/** Facts about a session, in camel case. */

import type { Status } from "./events";
import type { SessionFields } from "./frames";
import type { JsonObject } from "./values";

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
