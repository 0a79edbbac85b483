/** Devices of a user: sessions, described for people (PROTOCOL section 13). */

import type { Status } from "./events";

export interface Device {
  sessionId: string;
  /** Name that the user gave to the device. */
  label: string;
  browser: string;
  system: string;
  /** Place, if the project can tell it; otherwise empty. */
  place: string;
  firstSeen: string;
  lastSeen: string;
  connectionState: Status;
  /** True for the session that asks. */
  isCurrent: boolean;
}
