/** Log of the session itself: messages from the server and the twelve events (PROTOCOL section 8). */

import type { Emitter } from "./emitter";
import { isEventType, type EventType, type SessionEntry, type SessionEvents } from "./events";
import type { Position } from "./frames";
import type { Reader } from "./logbook";
import type { ClientRecord } from "./record";
import type { Stats } from "./stats";
import type { Json } from "./values";

export const SESSION_LOG = "session";

export class Timeline implements Reader {
  readonly #record: ClientRecord;
  readonly #emitter: Emitter<SessionEvents>;
  readonly #stats: Stats;
  readonly #seen = new Set<EventType>();

  constructor(record: ClientRecord, emitter: Emitter<SessionEvents>, stats: Stats) {
    this.#record = record;
    this.#emitter = emitter;
    this.#stats = stats;
  }

  get start(): Position | null {
    return this.#record.readPosition(SESSION_LOG);
  }

  moveTo(position: Position | null): void {
    this.#record.setPosition(SESSION_LOG, position);
  }

  takeEntry(body: { type: string; data?: Json; at?: string }, position: Position): void {
    const entry: SessionEntry = { type: body.type, data: body.data ?? null, at: body.at ?? null, position };
    if (entry.type === "message") {
      this.#stats.count("messages");
      this.#emitter.emit("message", entry.data, entry);
    } else if (isEventType(entry.type)) this.#tellEvent(entry.type, entry);
  }

  /** Report the end of a session, which the server can no longer write into a log that this client may read. */
  announceEnd(type: EventType, data: Json): void {
    if (!this.#seen.has(type)) this.#tellEvent(type, { type, data, at: null, position: null });
  }

  #tellEvent(type: EventType, entry: SessionEntry): void {
    this.#seen.add(type);
    this.#emitter.emit(type, entry.data, entry);
    this.#emitter.emit("*", type, entry.data, entry);
  }
}
