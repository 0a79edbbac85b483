/** Questions over a connection that may end before the answer. */

import type { Connection } from "./connection";
import type { Clock } from "./environment";
import { SessionError } from "./errors";
import type { Verdict } from "./frames";
import type { RefreshAnswer } from "./changes/refreshing";

const PATIENCE = 10_000;

/** Ask over the connection; null without an answer. Rejects with the server's refusal. */
export function askForReply<Answer = RefreshAnswer>(
  connection: Connection,
  clock: Clock,
  frame: object,
): Promise<Answer | null> {
  return new Promise((resolve, reject) => {
    const timer = clock.setTimeout(() => resolve(null), PATIENCE);
    const isSent = connection.askServer(frame, (answer) => {
      clock.clearTimeout(timer);
      if (answer.type === "error") reject(new SessionError(answer));
      else resolve(answer as unknown as Answer);
    });
    if (isSent) return;
    clock.clearTimeout(timer);
    resolve(null);
  });
}

/** Ask about a log; `answer` gets the verdict, or the error. Return false if there is no connection. */
export function askForVerdict(
  connection: Connection,
  frame: object,
  answer: (verdict: Verdict | SessionError) => void = () => undefined,
): boolean {
  return connection.askServer(frame, (reply) => {
    if (reply.type === "reply" && reply.verdict) answer(reply.verdict);
    else if (reply.type === "error") answer(new SessionError(reply));
  });
}
