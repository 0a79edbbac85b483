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
