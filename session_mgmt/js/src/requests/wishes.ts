/** Requests for other heartbeat settings of a connection (PROTOCOL section 9). */

import { askForReply } from "../asking";
import type { Connection } from "../connection";
import type { Clock } from "../environment";
import type { Beats } from "../frames";

/** Present settings of a connection; times in seconds. */
export interface ConnectionSettings {
  interval: number;
  missedLimit: number;
  batch: number;
  deadline: number;
}

/** Request heartbeat settings. Resolves with null without a connection or an answer. Rejects if the server refuses. */
export async function askForWishes(
  connection: Connection,
  clock: Clock,
  wishes: Record<string, number>,
): Promise<ConnectionSettings | null> {
  const answer = await askForReply<{ config?: Beats }>(connection, clock, { type: "configure", ...wishes });
  const beats = answer?.config;
  if (!beats) return null;
  connection.takeBeats(beats);
  const { interval, missed_limit: missedLimit, batch = 0, deadline } = beats;
  return { interval, missedLimit, batch, deadline };
}
