/** Frames that arrive on an open connection, each passed to the part that handles it. */

import type { Connection } from "./connection";
import type { Emitter } from "./emitter";
import { SessionError } from "./errors";
import type { SessionEvents } from "./events";
import type { ErrorFrame, RecoveryReceipt, ServerFrame, SuccessorReceipt } from "./frames";
import type { Logbook } from "./logbook";
import type { Stats } from "./stats";
import type { Topics } from "./topics";
import type { Writer } from "./writer";

export interface InboxParts {
  connection: Connection;
  logbook: Logbook;
  writer: Writer;
  topics: Topics;
  stats: Stats;
  emitter: Emitter<SessionEvents>;
}

export class Inbox {
  readonly #parts: InboxParts;

  constructor(parts: InboxParts) {
    this.#parts = parts;
  }

  takeFrame(frame: ServerFrame): void {
    const { connection, logbook, writer, topics, stats } = this.#parts;
    switch (frame.type) {
      case "entries":
        return logbook.takeEntries(frame);
      case "snapshot":
        return logbook.takeSnapshot(frame);
      case "gap":
        return logbook.takeGap(frame);
      case "receipt":
        return writer.takeReceipt(frame);
      case "recovery":
        return this.tellRecovery(frame.receipt);
      case "ephemeral":
        return topics.takeEphemeral(frame.topic, frame.data);
      case "ping":
        if (typeof frame.rtt_ms === "number") stats.addLatency(frame.rtt_ms);
        connection.sendFrame({ type: "pong", ping: frame.ping, acked: writer.outbox.acked });
        return;
      case "error":
        return this.#takeError(frame);
    }
  }

  tellRecovery(receipt: RecoveryReceipt | SuccessorReceipt): void {
    this.#parts.stats.countRecovery(receipt.verdict);
    this.#parts.emitter.emit("recovery", receipt);
  }

  #takeError({ type: _type, id, log, seq, ...error }: ErrorFrame): void {
    const { logbook, writer, emitter } = this.#parts;
    if (log !== undefined && id === undefined) return logbook.takeDenial(log, new SessionError(error));
    // An error with a number is the answer to that write, like a receipt.
    if (seq !== undefined) return writer.takeReceipt({ type: "receipt", seq, ok: false, error });
    emitter.emit("error", new SessionError(error));
  }
}
