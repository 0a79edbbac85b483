/** The logs that this client follows, its place in each, and what arrives there (PROTOCOL section 4). */

import { SessionError } from "./errors";
import type { Gap } from "./events";
import type { EntriesFrame, GapFrame, Position, SnapshotFrame, Verdict } from "./frames";
import type { Json } from "./values";

/** Who reads a log. */
export interface Reader {
  /** Where to begin, from an earlier page; null for "from now on", or "everything" for a document. */
  readonly start: Position | null;
  entry(body: Json, position: Position): void;
  /** After the last entry of a frame. */
  settled?(): void;
  gap?(gap: Gap): void;
  /** The place has changed; it is stored before the entry there is handed over. */
  moved?(position: Position | null): void;
  snapshot?(data: Json): void;
  awaitSnapshot?(): void;
  /** What the server says of the place, before what follows from it. */
  judged?(verdict: Verdict): void;
  /** The server stores the document encrypted. */
  sealed?(): void;
  denied?(error: SessionError): void;
}

/** Entries that do not follow on what was seen; the connection is closed with 4104. */
export class OutOfOrder extends Error {}

export interface LogbookPort {
  /** Asks on the connection; `answer` gets the verdict, or the error. False if there is no connection. */
  ask(frame: object, answer: (verdict: Verdict | SessionError) => void): boolean;
  fetchDocument(url: string): Promise<{ data: Json; position: Position }>;
  /** The connection must be given up and recovered. */
  lost(): void;
  gap(gap: Gap): void;
}

/** A verdict over HTTP carries what would follow it on a connection. */
export interface SyncAnswer extends Verdict {
  entries?: EntriesFrame["entries"];
  data?: Json;
}

const MOST_WAITING = 10_000;

class Log {
  position: Position | null;
  /** Followed on the server, or asked for, on this connection. */
  asked = false;
  /** Frames that wait for the body of a snapshot; null if none is being fetched. */
  waiting: EntriesFrame[] | null = null;

  constructor(
    readonly name: string,
    public reader: Reader,
  ) {
    this.position = reader.start;
  }
}

export class Logbook {
  readonly #logs = new Map<string, Log>();
  readonly #port: LogbookPort;
  /** Raised when a connection ends: what belongs to an ended one is dropped. */
  #attachment = 0;
  #attached = false;
  #planned = false;
  #leaving = new Map<string, Log>();

  constructor(port: LogbookPort) {
    this.#port = port;
  }

  /** Follows a log from the reader's start, or goes on where the log was left in the same turn. */
  follow(name: string, reader: Reader): void {
    const left = this.#leaving.get(name);
    this.#leaving.delete(name);
    if (left) left.reader = reader;
    this.#logs.set(name, left ?? new Log(name, reader));
    this.#plan();
  }

  unfollow(name: string): void {
    const log = this.#logs.get(name);
    if (!log) return;
    this.#logs.delete(name);
    // A callback may unsubscribe and subscribe again: the server is told what is still left at the end of the turn.
    this.#leaving.set(name, log);
    this.#plan();
  }

  position(name: string): Position | null {
    return this.#logs.get(name)?.position ?? null;
  }

  /** The `logs` of `connect`. */
  positions(): Record<string, Position | null> {
    const positions: Record<string, Position | null> = {};
    for (const log of this.#logs.values()) positions[log.name] = log.position;
    return positions;
  }

  /** Another session, or another life of this client, has other places. */
  forget(names: readonly string[]): void {
    for (const name of names) {
      const log = this.#logs.get(name);
      if (log) this.#move(log, null);
    }
  }

  names(): string[] {
    return [...this.#logs.keys()];
  }

  attach(asked: ReadonlySet<string>, verdicts: Record<string, Verdict>): void {
    this.#attached = true;
    for (const log of this.#logs.values()) {
      log.asked = asked.has(log.name);
      const verdict = verdicts[log.name];
      if (verdict) this.#judged(log, verdict);
    }
    this.#plan();
  }

  detach(): void {
    this.#attached = false;
    this.#attachment += 1;
    for (const log of this.#logs.values()) {
      log.asked = false;
      log.waiting = null;
    }
  }

  entries(frame: EntriesFrame): void {
    const log = this.#logs.get(frame.log);
    if (!log) return;
    if (log.waiting) {
      log.waiting.push(frame);
      if (log.waiting.length > MOST_WAITING) throw new OutOfOrder();
      return;
    }
    this.#apply(log, frame);
  }

  gap(frame: GapFrame): void {
    const log = this.#logs.get(frame.log);
    if (log) this.#skip(log, frame);
  }

  snapshot(frame: SnapshotFrame): void {
    const log = this.#logs.get(frame.log);
    if (!log) return;
    if (frame.url === undefined) return this.#replace(log, frame.data, frame.position);
    log.waiting = [];
    log.reader.awaitSnapshot?.();
    void this.#fetch(log, frame.url, frame.position);
  }

  /** Takes the answer of an explicit synchronisation; what arrived by the connection meanwhile stays. */
  synced(name: string, answer: SyncAnswer): void {
    const log = this.#logs.get(name);
    const position = answer.position;
    if (!log || log.waiting || !position) return;
    if (answer.encrypted) log.reader.sealed?.();
    log.reader.judged?.(answer);
    if (answer.mode === "snapshot" && answer.data !== undefined) {
      const known = log.position?.[0] === position[0] && log.position[1] >= position[1];
      if (!known) this.#replace(log, answer.data, position);
    } else if (answer.mode === "entries") {
      this.#apply(log, { type: "entries", log: name, epoch: position[0], entries: answer.entries ?? [] });
    }
  }

  #apply(log: Log, frame: EntriesFrame): void {
    const attachment = this.#attachment;
    for (const [offset, tag, body] of frame.entries) {
      // A callback may have ended the connection, or stopped following: the rest belongs to the next reader.
      if (attachment !== this.#attachment || this.#logs.get(log.name) !== log) break;
      const at = log.position;
      if (!at || at[0] !== frame.epoch || offset > at[1] + 1) throw new OutOfOrder();
      if (offset <= at[1]) continue;
      const position: Position = [frame.epoch, offset, tag];
      this.#move(log, position);
      log.reader.entry(body, position);
    }
    log.reader.settled?.();
  }

  #judged(log: Log, verdict: Verdict): void {
    if (verdict.encrypted) log.reader.sealed?.();
    log.reader.judged?.(verdict);
    if (verdict.mode === "denied") {
      log.reader.denied?.(new SessionError(verdict.error ?? { name: "topic_denied" }));
    } else if (verdict.mode === "gap") this.#skip(log, verdict);
    else if (verdict.mode === "snapshot") log.reader.awaitSnapshot?.();
    else if (verdict.position) this.#move(log, verdict.position);
  }

  #skip(log: Log, { from = null, to = null, reason = "", position }: Verdict): void {
    if (position) this.#move(log, position);
    const topic = log.name.startsWith("topic:") ? log.name.slice("topic:".length) : null;
    const gap = { log: log.name, topic, from, to, reason };
    log.reader.gap?.(gap);
    this.#port.gap(gap);
  }

  #replace(log: Log, data: Json, position: Position): void {
    this.#move(log, position);
    log.reader.snapshot?.(data);
    log.reader.settled?.();
  }

  async #fetch(log: Log, url: string, promised: Position): Promise<void> {
    const attachment = this.#attachment;
    try {
      const { data, position } = await this.#port.fetchDocument(url);
      if (attachment !== this.#attachment || this.#logs.get(log.name) !== log) return;
      if (position[0] !== promised[0] || position[1] < promised[1]) throw new OutOfOrder();
      const waiting = log.waiting ?? [];
      log.waiting = null;
      this.#replace(log, data, position);
      for (const frame of waiting) this.#apply(log, frame);
    } catch {
      // Without its body the document has no place to go on from.
      if (attachment === this.#attachment) this.#port.lost();
    }
  }

  #move(log: Log, position: Position | null): void {
    log.position = position;
    log.reader.moved?.(position);
  }

  #plan(): void {
    if (this.#planned) return;
    this.#planned = true;
    queueMicrotask(() => {
      this.#planned = false;
      this.#reconcile();
    });
  }

  #reconcile(): void {
    const leaving = [...this.#leaving.values()];
    this.#leaving.clear();
    for (const log of leaving) {
      log.reader.moved?.(null);
      if (this.#attached && log.asked) this.#port.ask({ type: "unsubscribe", log: log.name }, () => undefined);
    }
    if (!this.#attached) return;
    for (const log of this.#logs.values()) if (!log.asked) this.#subscribe(log);
  }

  #subscribe(log: Log): void {
    log.asked = this.#port.ask({ type: "subscribe", log: log.name, position: log.position }, (answer) => {
      if (this.#logs.get(log.name) !== log) return;
      this.#judged(log, answer instanceof SessionError ? { mode: "denied", error: fields(answer) } : answer);
    });
  }
}

function fields(error: SessionError): Verdict["error"] {
  return { code: error.code, name: error.name, temporary: error.temporary, message: error.message };
}
