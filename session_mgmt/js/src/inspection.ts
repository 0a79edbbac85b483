/** What the debug panel may look at. */

import type { ApplicationTypes } from "./application";
import type { SessionClient } from "./client";
import type { Connection } from "./connection";
import type { Unsubscribe } from "./emitter";
import type { Logbook } from "./logbook";
import type { Writer } from "./writer";

/** Load the panel, and show it; resolves with the function that takes it away. */
export async function showPanel<A extends ApplicationTypes>(
  client: SessionClient<A>,
  { watchers }: Connection,
  logbook: Logbook,
  writer: Writer,
): Promise<Unsubscribe> {
  const { openPanel } = await import("./debug");
  return openPanel({
    describe: () => ({ id: client.id, client: client.clientId, status: client.status, pending: client.pending }),
    listPositions: () => Object.fromEntries(logbook.names().map((name) => [name, logbook.position(name)])),
    listWaiting: () => [...writer.outbox.writes],
    onFrame: (listener) => {
      watchers.add(listener);
      return () => void watchers.delete(listener);
    },
    onStatus: (listener) => client.on("status", listener),
    onRecovery: (listener) => client.on("recovery", listener),
  });
}
