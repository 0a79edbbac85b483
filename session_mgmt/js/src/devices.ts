/** Devices of a user: sessions as people know them (PROTOCOL section 13). */

import type { Status } from "./events";

export interface Device {
  sessionId: string;
  /** Name that the user gave it. */
  label: string;
  browser: string;
  system: string;
  /** Place as the project knows it; empty if it does not. */
  place: string;
  firstSeen: string;
  lastSeen: string;
  connectionState: Status;
  /** True for the session that asks. */
  isCurrent: boolean;
}

export interface DeviceFields {
  session_id: string;
  label: string;
  browser: string;
  system: string;
  place: string;
  first_seen: string;
  last_seen: string;
  connection_state: Status;
  is_current: boolean;
}

export function toDevice(fields: DeviceFields): Device {
  const { label, browser, system, place } = fields;
  return {
    ...{ label, browser, system, place },
    sessionId: fields.session_id,
    firstSeen: fields.first_seen,
    lastSeen: fields.last_seen,
    connectionState: fields.connection_state,
    isCurrent: fields.is_current,
  };
}
