/** Return of a tab into an anonymous session after a logout. */

import { Backoff } from "../backoff";
import { RENEW_AGAIN } from "../beginning";
import type { Environment } from "../environment";
import { SessionError } from "../errors";
import { pause } from "../pause";

/** Milliseconds that the project's own logout may still take. */
const LOGOUT_TAKES = 30_000;
const LOOK_AGAIN = 3_000;
/** Refusals while the cookie of the page still has the login. */
const STILL_THERE: ReadonlySet<string> = new Set(["login_mismatch", "login_ended"]);

/** Enter, again and again until it succeeds. Throws a final refusal of the server, or the reason of the signal. */
export async function returnAsNobody(
  { clock, random }: Environment,
  enter: () => Promise<void>,
  signal: AbortSignal,
): Promise<void> {
  const backoff = new Backoff(random);
  const latest = clock.now() + LOGOUT_TAKES;
  for (;;) {
    try {
      signal.throwIfAborted();
      return await enter();
    } catch (error) {
      if (signal.aborted || !(error instanceof SessionError)) throw error;
      const isLeaving = STILL_THERE.has(error.name) && clock.now() < latest;
      if (!isLeaving && !error.temporary) throw error;
      const wait = isLeaving ? LOOK_AGAIN : (backoff.nextWait(error.retryAfter ?? 0) ?? RENEW_AGAIN);
      await pause(clock, wait, signal);
    }
  }
}
