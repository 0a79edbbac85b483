/** Logs that this client follows, its position in each, and the entries that arrive (PROTOCOL section 4). */

import { askForVerdict, type Askable } from "./asking";
import type { Clock } from "./environment";
import { SessionError } from "./errors";
import type { Gap, SessionEvents } from "./events";
import type { EntriesFrame, GapFrame, Position, SnapshotFrame, Verdict } from "./frames";
import type { Json } from "./values";

/** How to continue if a reader is slow, which part of a log it wants, and where to begin without a position. */
interface Wishes {
  slow?: string | undefined;
  filter?: object | undefined;
  since?: object | undefined;
}

/** Reader of a log. */
export interface Reader {
  /** Position that an earlier page reached. Null means from now on, and for a document everything. */
  readonly start: Position | null;
  readonly wishes?: Wishes;
  takeEntry(body: Json, position: Position): void;
  /** Called after the last entry of a frame. */
  endFrame?(): void;
  takeGap?(gap: Gap): void;
  /** Store the new position. Called before the reader receives the entry at that position. */
  moveTo?(position: Position | null): void;
  takeSnapshot?(data: Json): void;
  awaitSnapshot?(): void;
  /** Handle the server's verdict on the position, before the entries or the snapshot. */
  takeVerdict?(verdict: Verdict): void;
  /** Note that the server stores the document encrypted. */
  sealCopy?(): void;
  handleDenial?(error: SessionError): void;
}

/** Error for entries with a gap; the connection is closed with 4104. */
export class OutOfOrder extends Error {}

export interface LogbookPort {
  clock: Clock;
  random: () => number;
  connection: Askable & { abandonLink(): void };
  fetchDocument(url: string): Promise<{ data: Json; position: Position }>;
  /** Report why a large document could not be fetched. */
  tellFailed(log: string, error: SessionError): void;
  /** Report entries that the application does not receive. */
  tellRange<Event extends "gap" | "conflated">(event: Event, ...range: SessionEvents[Event]): void;
}

/** Verdict over HTTP, with the entries or the value that follow it on a connection. */
export interface SyncAnswer extends Verdict {
  entries?: EntriesFrame["entries"];
  data?: Json;
}

const MOST_WAITING = 10_000;
/**
 * Seconds before the client asks again for a log that the server refused with `busy`: the first wait, and the longest.
 */
const AGAIN_AFTER = 1;
const AGAIN_MOST = 60;

class Log {
  position: Position | null;
  /**
   * Filter of the subscription on this connection, from its request on; undefined without a filter, null without a
   * subscription.
   */
  asked: object | null | undefined = null;
  /** True if the server has stopped following the log on this connection. The client does not ask again by itself. */
  denied = false;
  /** Number of temporary refusals in a row, and the timer of the wait after the last one. */
  refusals = 0;
  timer: unknown = null;
  /**
   * Frames that wait for the body of a snapshot, or for the verdict that tells where the log begins; null if none wait.
   */
  waiting: EntriesFrame[] | null = null;
  /** Least position of the snapshot whose body is being fetched. */
  promised: Position | null = null;

  constructor(
    readonly name: string,
    public reader: Reader,
  ) {
    this.position = reader.start;
  }

  /** Position after which the next entries must come. */
  get place(): Position | null {
    if (!this.waiting) return this.position;
    const frame = this.waiting.at(-1);
    const last = frame?.entries.at(-1);
    return frame && last ? [frame.epoch, last[0], last[1]] : this.promised;
  }
}

export class Logbook {
  readonly #logs = new Map<string, Log>();
  readonly #port: LogbookPort;
  /** Number of attachments so far; answers of an earlier one are dropped. */
  #attachment = 0;
  #attached = false;
  #planned = false;
  #leaving = new Map<string, Log>();

  constructor(port: LogbookPort) {
    this.#port = port;
  }

  /** Follow a log from the start of the reader; if the log was left in the same turn, continue from its position. */
  followLog(name: string, reader: Reader): void {
    const left = this.#leaving.get(name);
    this.#leaving.delete(name);
    if (left) left.reader = reader;
    this.#logs.set(name, left ?? new Log(name, reader));
    this.#planReconcile();
  }

  unfollowLog(name: string): void {
    const log = this.#logs.get(name);
    if (!log) return;
    this.#logs.delete(name);
    // A callback may unsubscribe and subscribe again, so the server is told at the end of the turn.
    this.#leaving.set(name, log);
    this.#planReconcile();
  }

  position(name: string): Position | null {
    return this.#logs.get(name)?.position ?? null;
  }

  /** Return the `logs` of `connect`, and the options of their readers. */
  listWanted(): { logs: Record<string, Position | null> } & { [wish: string]: Record<string, unknown> } {
    const wanted: ReturnType<Logbook["listWanted"]> = { logs: {} };
    for (const log of this.#logs.values()) {
      if (log.denied) continue;
      log.asked = log.reader.wishes?.filter;
      wanted.logs[log.name] = log.position;
      for (const [wish, of] of Object.entries(log.reader.wishes ?? {})) (wanted[wish] ??= {})[log.name] = of;
    }
    return wanted;
  }

  /** Return the position after which the next entries of a log must come; undefined if it is not followed. */
  findPlace(name: string): Position | null | undefined {
    const log = this.#logs.get(name);
    return log && !log.denied ? log.place : undefined;
  }

  /** Forget the positions in these logs, because another session begins. */
  forgetPlaces(listNames: readonly string[]): void {
    for (const name of listNames) {
      const log = this.#logs.get(name);
      if (log) this.#moveTo(log, null);
    }
  }

  /** Ask for every log again, because the rights of another user apply now. */
  forgetDenials(): void {
    for (const log of this.#logs.values()) log.denied = false;
    this.#planReconcile();
  }

  isDenied(name: string): boolean {
    return this.#logs.get(name)?.denied ?? false;
  }

  names(): string[] {
    return [...this.#logs.keys()];
  }

  attach(verdicts: Record<string, Verdict>): void {
    this.#attached = true;
    for (const log of this.#logs.values()) {
      const verdict = verdicts[log.name];
      if (verdict) this.#applyVerdict(log, verdict);
    }
    this.#planReconcile();
  }

  detach(): void {
    this.#attached = false;
    this.#attachment += 1;
    for (const log of this.#logs.values()) {
      log.asked = null;
      log.waiting = null;
      this.#port.clock.clearTimeout(log.timer);
    }
  }

  takeEntries(frame: EntriesFrame): void {
    const log = this.#logs.get(frame.log);
    if (!log) return;
    // The entries belong to an earlier subscription, or they were faster than the answer to this one.
    if (!log.position) log.waiting ??= [];
    if (log.waiting) {
      log.waiting.push(frame);
      if (log.waiting.length > MOST_WAITING) throw new OutOfOrder();
      return;
    }
    this.#applyEntries(log, frame);
  }

  takeGap(frame: GapFrame): void {
    const log = this.#logs.get(frame.log);
    if (log) this.#skipGap(log, frame);
  }

  /** Stop a log that the client may no longer read; its position stays. */
  takeDenial(name: string, error: SessionError): void {
    const log = this.#logs.get(name);
    if (!log || log.denied) return;
    log.denied = !error.temporary;
    if (log.denied) log.asked = null;
    this.#refuse(log, error);
  }

  takeSnapshot(frame: SnapshotFrame): void {
    const log = this.#logs.get(frame.log);
    if (!log) return;
    if (frame.url === undefined) return this.#replaceValue(log, frame.data, frame.position);
    log.waiting = [];
    log.promised = frame.position;
    log.reader.awaitSnapshot?.();
    void this.#fetchBody(log, frame.url, frame.position);
  }

  /** Handle the answer to `sync`; entries that arrived over the connection meanwhile stay. */
  takeSyncAnswer(name: string, answer: SyncAnswer): void {
    const log = this.#logs.get(name);
    const position = answer.position;
    if (!log || log.waiting || !position) return;
    if (answer.encrypted) log.reader.sealCopy?.();
    log.reader.takeVerdict?.(answer);
    if (answer.mode === "snapshot" && answer.data !== undefined) {
      const known = log.position?.[0] === position[0] && log.position[1] >= position[1];
      if (!known) this.#replaceValue(log, answer.data, position);
    } else if (answer.mode === "entries") {
      this.#applyEntries(log, { type: "entries", log: name, epoch: position[0], entries: answer.entries ?? [] });
    }
  }

  #applyEntries(log: Log, frame: EntriesFrame): void {
    const attachment = this.#attachment;
    const end = this.#checkRange(log, frame);
    for (const [offset, tag, body] of frame.entries) {
      // A callback may have ended the connection or stopped following; the rest is for the next reader.
      if (attachment !== this.#attachment || this.#logs.get(log.name) !== log) return log.reader.endFrame?.();
      const at = log.position;
      if (!at || at[0] !== frame.epoch || (!end && offset > at[1] + 1)) throw new OutOfOrder();
      if (offset <= at[1]) continue;
      const position: Position = [frame.epoch, offset, tag];
      this.#moveTo(log, position);
      log.reader.takeEntry(body, position);
    }
    if (end && log.position && end[1] > log.position[1]) this.#moveTo(log, end);
    log.reader.endFrame?.();
  }

  /** Return the end of the range of a frame; undefined if the range begins after the present position. */
  #checkRange(log: Log, { epoch, prev = 0, position, conflated }: EntriesFrame): Position | undefined {
    const at = log.position;
    if (position) {
      if (!at || at[0] !== epoch || prev > at[1]) throw new OutOfOrder();
      if (conflated && position[1] > at[1]) this.#port.tellRange("conflated", nameRange(log, prev + 1, position[1]));
    }
    return position;
  }

  #applyVerdict(log: Log, verdict: Verdict): void {
    if (verdict.encrypted) log.reader.sealCopy?.();
    log.reader.takeVerdict?.(verdict);
    if (verdict.mode === "denied") {
      return this.#refuse(log, new SessionError(verdict.error ?? { name: "topic_denied" }));
    }
    log.refusals = 0;
    if (verdict.mode === "gap") this.#skipGap(log, verdict);
    else if (verdict.mode === "snapshot") log.reader.awaitSnapshot?.();
    else if (verdict.position) this.#moveTo(log, verdict.position);
    if (verdict.mode === "snapshot") return;
    const early = log.waiting ?? [];
    log.waiting = null;
    for (const frame of early) this.#applyEntries(log, frame);
  }

  /** Report a refusal. After a temporary one, which is reported once, ask the server again with growing waits. */
  #refuse(log: Log, error: SessionError): void {
    const { clock, random } = this.#port;
    log.waiting = null;
    if (error.temporary) {
      const wait = Math.min(AGAIN_MOST, (error.retryAfter ?? AGAIN_AFTER) * 2 ** log.refusals) * (1 + random());
      log.refusals += 1;
      clock.clearTimeout(log.timer);
      log.timer = clock.setTimeout(() => {
        log.asked = null;
        this.#planReconcile();
      }, wait * 1000);
      if (log.refusals > 1) return;
    }
    log.reader.handleDenial?.(error);
  }

  #skipGap(log: Log, { from = null, to = null, reason = "", position }: Verdict): void {
    if (position) this.#moveTo(log, position);
    const gap = { ...nameRange(log, from, to), reason };
    log.reader.takeGap?.(gap);
    this.#port.tellRange("gap", gap);
  }

  #replaceValue(log: Log, data: Json, position: Position): void {
    this.#moveTo(log, position);
    log.reader.takeSnapshot?.(data);
    log.reader.endFrame?.();
  }

  async #fetchBody(log: Log, url: string, promised: Position): Promise<void> {
    const attachment = this.#attachment;
    try {
      const { data, position } = await this.#port.fetchDocument(url);
      if (attachment !== this.#attachment || this.#logs.get(log.name) !== log || log.denied) return;
      if (position[0] !== promised[0] || position[1] < promised[1]) throw new OutOfOrder();
      const waiting = log.waiting ?? [];
      log.waiting = null;
      this.#replaceValue(log, data, position);
      for (const frame of waiting) this.#applyEntries(log, frame);
    } catch (error) {
      if (attachment !== this.#attachment) return;
      if (error instanceof SessionError) this.#port.tellFailed(log.name, error);
      // Without the body of its snapshot the document has no position to continue from.
      this.#port.connection.abandonLink();
    }
  }

  #moveTo(log: Log, position: Position | null): void {
    log.position = position;
    log.reader.moveTo?.(position);
  }

  #planReconcile(): void {
    if (this.#planned) return;
    this.#planned = true;
    queueMicrotask(() => {
      this.#planned = false;
      this.#reconcileLogs();
    });
  }

  #reconcileLogs(): void {
    const leaving = [...this.#leaving.values()];
    this.#leaving.clear();
    for (const log of leaving) {
      log.reader.moveTo?.(null);
      this.#leaveLog(log);
    }
    if (!this.#attached) return;
    for (const log of this.#logs.values()) {
      if (log.denied || JSON.stringify(log.asked) === JSON.stringify(log.reader.wishes?.filter)) continue;
      // The reader wants another part of the log than the server was asked for.
      this.#leaveLog(log);
      this.#subscribeLog(log);
    }
  }

  #leaveLog(log: Log): void {
    this.#port.clock.clearTimeout(log.timer);
    if (log.asked !== null) askForVerdict(this.#port.connection, { type: "unsubscribe", log: log.name });
  }

  #subscribeLog(log: Log): void {
    const asked = log.position;
    const frame = { ...log.reader.wishes, type: "subscribe", log: log.name, position: asked };
    const handle = (answer: Verdict | SessionError): void => {
      if (this.#logs.get(log.name) !== log) return;
      if (answer instanceof SessionError) this.#applyVerdict(log, { mode: "denied", error: toErrorFields(answer) });
      else if (log.position !== asked && hasPassed(log, answer)) log.reader.takeVerdict?.(answer);
      else this.#applyVerdict(log, answer);
    };
    log.asked = askForVerdict(this.#port.connection, frame, handle) ? frame.filter : null;
  }
}

/** Return true if entries from a poll or another tab have brought a log as far as a verdict. */
function hasPassed({ position: at }: Log, { mode, position }: Verdict): boolean {
  return mode !== "snapshot" && !!at && !!position && at[0] === position[0] && at[1] >= position[1];
}

function nameRange({ name }: Log, from: number | null, to: number | null): Omit<Gap, "reason"> {
  return { log: name, topic: name.startsWith("topic:") ? name.slice(6) : null, from, to };
}

function toErrorFields({ code, name, temporary, message, retryAfter }: SessionError): Verdict["error"] {
  return { code, name, temporary, message, retry_after: retryAfter };
}
