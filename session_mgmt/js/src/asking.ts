/** Questions over a connection that may end before the answer. */

import type { Clock } from "./environment";
import { SessionError } from "./errors";
import type { ServerFrame, Verdict } from "./frames";
import { limitTime } from "./pause";
import type { RefreshAnswer } from "./changes/refreshing";

/** Connection, as a question uses it. */
export interface Askable {
  readonly connected: boolean;
  /** Callbacks for the next attachment. */
  readonly attaching: Set<() => void>;
  /** Ask; `answer` receives null if the connection ends first. Return false if there is no connection. */
  askServer(frame: object, answer: (reply: ServerFrame | null) => void): boolean;
}

const PATIENCE = 10_000;

/** Ask over the connection. Resolves with null without an answer. Rejects if the server refuses. */
export async function askForReply<Answer = RefreshAnswer>(
  connection: Askable,
  clock: Clock,
  frame: object,
): Promise<Answer | null> {
  const ask = (signal: AbortSignal): Promise<ServerFrame | null> =>
    new Promise((resolve) => {
      const send = (): void => {
        connection.attaching.delete(send);
        if (!signal.aborted && !connection.askServer(frame, take)) take(null);
      };
      const take = (answer: ServerFrame | null): void => {
        // While an attachment changes its transport, the connection goes on, and the question is repeated on the next
        // attachment.
        if (!answer && connection.connected) connection.attaching.add(send);
        else resolve(answer);
      };
      signal.addEventListener("abort", () => resolve(null));
      send();
    });
  const reply = await limitTime(clock, PATIENCE, ask);
  if (reply?.type === "error") throw new SessionError(reply);
  return reply as Answer | null;
}

/** Ask about a log; `answer` receives the verdict or the error. Return false without a connection. */
export function askForVerdict(
  connection: Askable,
  frame: object,
  answer: (verdict: Verdict | SessionError) => void = () => undefined,
): boolean {
  return connection.askServer(frame, (reply) => {
    if (reply?.type === "reply" && reply.verdict) answer(reply.verdict);
    else if (reply?.type === "error") answer(new SessionError(reply));
  });
}
