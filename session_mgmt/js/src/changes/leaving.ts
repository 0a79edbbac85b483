/** A person who leaves: what waits is sent for a moment, then the session ends. */

import type { Credentials } from "../credentials";
import type { Clock } from "../environment";
import { limitTime, pause } from "../pause";
import type { Rest } from "../rest";

const FLUSH_FOR = 2_000;
const LOOK_EVERY = 50;

export interface LeavingPort {
  /** Return true while writes wait that a connection could send. */
  isSending(): boolean;
  flush(): void;
  /** Wipe what this browser has of the session. */
  end(): void;
}

/** Send what waits, for at most 2 s, then end the session here, and on the server if it answers. Never rejects. */
export async function leaveSession(clock: Clock, rest: Rest, credentials: Credentials, port: LeavingPort): Promise<void> {
  port.flush();
  for (let waited = 0; waited < FLUSH_FOR && port.isSending(); waited += LOOK_EVERY) await pause(clock, LOOK_EVERY);
  const { kept, isVerified } = credentials;
  port.end();
  if (!kept || !isVerified) return;
  const path = `sessions/${kept.session.session_id}/`;
  const end = (signal: AbortSignal): Promise<unknown> => rest.sendRequest("DELETE", path, { token: kept.token, signal });
  // Without an answer the logout of the project ends it on the server.
  await limitTime(clock, FLUSH_FOR, end).catch(() => undefined);
}
