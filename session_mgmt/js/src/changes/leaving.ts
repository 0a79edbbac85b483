/** Logout: send the waiting writes for a moment, then end the session. */

import type { Credentials } from "../credentials";
import type { Clock } from "../environment";
import { limitTime, pause } from "../pause";
import type { Rest } from "../rest";

const FLUSH_FOR = 2_000;
const LOOK_EVERY = 50;

export interface LeavingPort {
  /** Return true while there are unanswered writes, and a connection that could send them. */
  isSending(): boolean;
  flush(): void;
  /** Remove everything of the session from this browser. */
  end(): void;
}

/** Send waiting writes for at most 2 s, then end the session here, and on the server if it answers. Never rejects. */
export async function leaveSession(clock: Clock, rest: Rest, credentials: Credentials, port: LeavingPort): Promise<void> {
  port.flush();
  for (let waited = 0; waited < FLUSH_FOR && port.isSending(); waited += LOOK_EVERY) await pause(clock, LOOK_EVERY);
  const { kept, isVerified } = credentials;
  port.end();
  if (!kept || !isVerified) return;
  const path = `sessions/${kept.session.session_id}/`;
  const end = (signal: AbortSignal): Promise<unknown> => rest.sendRequest("DELETE", path, { token: kept.token, signal });
  // Without an answer, the project's own logout ends the session on the server.
  await limitTime(clock, FLUSH_FOR, end).catch(() => undefined);
}
