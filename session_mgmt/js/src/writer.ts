/** Writes of the application: checks them, keeps them in the outbox, and settles their promises. */

import { requireThat } from "./arguments";
import type { Batch, Settle, Sync } from "./batch";
import type { Connection } from "./connection";
import type { Emitter } from "./emitter";
import type { Clock } from "./environment";
import { SessionError } from "./errors";
import type { SessionEvents, UnsentWrite } from "./events";
import type { PublishFrame, ReceiptFrame, UpdateFrame, WriteFrame } from "./frames";
import { Outbox, type OutboxBounds, type OutboxPort, type OutboxRecord, type Write } from "./outbox";
import type { ClientRecord } from "./record";
import { moveBase } from "./rebase";
import { digestReplaced } from "./replaced";
import type { Replica } from "./replica";
import type { Stats } from "./stats";
import { byteLength, normalizeValue, DEFAULT_VALUE_LIMITS, type Json, type ValueLimits } from "./values";
import { toUnsent } from "./wire";

export interface WriterPort {
  connection: Connection;
  findReplica(document: string): Replica | undefined;
  /** Report that the number of waiting writes has changed. */
  tellPending(): void;
}

const FRAME_BYTES = 262_144;
const MOST_OPERATIONS = 500;
const PUBLICATION_BYTES = 65_536;
/** Bytes of a frame besides its write. */
const FRAME_MARGIN = 64;

export class Writer {
  readonly outbox: Outbox;
  limits: ValueLimits = DEFAULT_VALUE_LIMITS;
  readonly #clock: Clock;
  readonly #emitter: Emitter<SessionEvents>;
  readonly #stats: Stats;
  readonly #port: WriterPort;
  /** Null if every update is sent at once. */
  readonly #batch: Batch | null;
  #frameBytes = FRAME_BYTES;
  #mostOperations = MOST_OPERATIONS;
  #publicationBytes = PUBLICATION_BYTES;

  constructor(
    record: ClientRecord,
    clock: Clock,
    bounds: Partial<OutboxBounds> | undefined,
    emitter: Emitter<SessionEvents>,
    stats: Stats,
    port: WriterPort,
    sync: Sync | null,
  ) {
    this.#clock = clock;
    this.#emitter = emitter;
    this.#stats = stats;
    this.#port = port;
    const { connection, findReplica, tellPending } = port;
    const sendFrame = (frame: object): boolean => connection.sendFrame(frame);
    const abandonConnection = (): void => connection.abandonLink();
    const rebaseWrites: OutboxPort["rebaseWrites"] = (...refused) => this.#rebaseWrites(...refused);
    this.outbox = new Outbox(record, clock, { sendFrame, abandonConnection, rebaseWrites, tellPending }, bounds);
    const fitsFrame = (frame: UpdateFrame): boolean => this.#fitsFrame(frame);
    this.#batch = sync ? new sync.Batch(this.outbox, clock, sync, { fitsFrame, findReplica, digestReplaced }) : null;
  }

  applyLimits(limits: Record<string, number>): void {
    this.#frameBytes = limits.frame_bytes ?? FRAME_BYTES;
    this.#mostOperations = limits.ops ?? MOST_OPERATIONS;
    this.#publicationBytes = limits.publication_bytes ?? PUBLICATION_BYTES;
    this.limits = {
      depth: limits.depth ?? DEFAULT_VALUE_LIMITS.depth,
      keyBytes: limits.key_bytes ?? DEFAULT_VALUE_LIMITS.keyBytes,
      stringBytes: limits.string_bytes ?? DEFAULT_VALUE_LIMITS.stringBytes,
    };
  }

  /** Number and store a write. Resolves with its receipt, rejects with the refusal. */
  addWrite(content: () => WriteFrame, signal?: AbortSignal): Promise<ReceiptFrame> {
    return new Promise((resolve, reject) => {
      // Check before the write is taken, because it could not be taken back.
      requireThat(!signal || typeof signal.addEventListener === "function", "signal is that of an AbortController");
      if (signal?.aborted) return reject(signal.reason);
      const failure = this.#port.connection.readFailure();
      if (failure) throw failure;
      const settle: Settle = (answer) => {
        // After the end of this client the write belongs to another client. The signal may live longer than many writes.
        signal?.removeEventListener("abort", giveUpWaiting);
        if (answer instanceof SessionError) reject(answer);
        else resolve(answer);
      };
      const takeBack = this.#takeWrite(this.#demandFit(content()), settle);
      const giveUpWaiting = (): void => {
        takeBack();
        reject(signal?.reason);
      };
      signal?.addEventListener("abort", giveUpWaiting, { once: true });
    });
  }

  /** Return an outbox without limits, for writes of another client. */
  newOutbox(record: OutboxRecord, port: OutboxPort): Outbox {
    return new Outbox(record, this.#clock, port, { writes: Infinity, bytes: Infinity });
  }

  /** Send the updates that wait for their delay. */
  flush(): void {
    this.#batch?.flush();
  }

  async sendMessage(data: Json, signal?: AbortSignal): Promise<Json> {
    return (await this.addWrite(() => ({ type: "send", data: normalizeValue(data, this.limits) }), signal)).data;
  }

  publishEntry(frame: Omit<PublishFrame, "type">, signal?: AbortSignal): Promise<ReceiptFrame> {
    return this.addWrite(() => ({ type: "publish", ...frame, data: this.normalizePublication(frame.data) }), signal);
  }

  /** Return a normalised copy of the data of a publication. Throws `publication_too_large` or the error of a value. */
  normalizePublication(data: Json): Json {
    const normal = normalizeValue(data, this.limits);
    if (byteLength(JSON.stringify(normal)) <= this.#publicationBytes) return normal;
    throw SessionError.local("publication_too_large", `The data is larger than ${this.#publicationBytes} bytes: publish less.`);
  }

  takeReceipt(frame: ReceiptFrame): void {
    const write = this.outbox.takeReceipt(frame);
    if (!write) return;
    this.#stats.count(frame.ok ? "receipts" : "refusals");
    this.#findReplicaOf(write)?.settleWrite(write, frame.ok ? (frame.position ?? null) : null);
    if (frame.ok) {
      this.tellConflict(write, frame);
      return write.settle?.(frame);
    }
    const error = new SessionError(frame.error ?? {});
    this.#emitter.emit("error", error);
    if (write.settle) return write.settle(error);
    // An earlier page made this write, so no promise is left that could reject.
    this.#emitter.emit("unsent", [toUnsent(write)], error.name);
  }

  /** Drop unconfirmed writes, and count from 1 again. */
  abandonWrites(reason: string): UnsentWrite[] {
    this.#batch?.dropDraft();
    const writes = this.outbox.abandonWrites();
    const error = SessionError.local(reason, `The write can no longer be sent (${reason}): see \`unsent\`.`);
    for (const write of writes) write.settle?.(error);
    return writes.map(toUnsent);
  }

  /** Read the record again, because another page has used it; return the writes that are no longer in it. */
  reload(lateFrom: number): Write[] {
    const gone = this.outbox.reload(lateFrom);
    for (const write of gone) this.#findReplicaOf(write)?.settleWrite(write, null);
    return gone;
  }

  /** Settle the promises of writes that another page has sent, as far as their answers are known. */
  settleSent(writes: readonly Write[], answers: ReadonlyMap<number, ReceiptFrame>): void {
    const unknown = SessionError.local("write_adopted", "Another page has sent the write: read the document.");
    for (const write of writes) {
      const answer = answers.get(write.seq);
      write.settle?.(answer?.ok ? answer : answer ? new SessionError(answer.error ?? {}) : unknown);
    }
  }

  /** Return writes of a closed tab in the form for the application. */
  describeUnsent(writes: readonly (readonly [seq: number, frame: WriteFrame])[]): UnsentWrite[] {
    return writes.map(([seq, frame]) => toUnsent({ seq, frame }));
  }

  /** Report the conflicts of an update. `orphan`: a closed tab made it. */
  tellConflict({ frame }: Write, receipt: ReceiptFrame, orphan = false): void {
    const { seq, dropped = [], overwrote = [], conflicts = [], more = 0 } = receipt;
    if (frame.type !== "update" || dropped.length + overwrote.length + conflicts.length === 0) return;
    const told = { document: frame.doc, seq, dropped, overwrote, conflicts, more };
    this.#emitter.emit("conflict", orphan ? { ...told, orphan } : told);
  }

  /** Reject the promises of the unanswered writes; the writes stay in the outbox. */
  stopWaiting(error: SessionError): void {
    for (const write of this.outbox.writes) {
      write.settle?.(error);
      write.settle = undefined;
    }
  }

  /** Reject the promises; the writes stay for the next page. */
  close(): void {
    this.#batch?.close();
    this.outbox.detach();
    this.stopWaiting(this.#port.connection.readFailure() as SessionError);
  }

  #demandFit(frame: WriteFrame): WriteFrame {
    if (byteLength(JSON.stringify(frame)) + FRAME_MARGIN <= this.#frameBytes) return frame;
    // The server would close each connection that sends it.
    throw SessionError.local("frame_too_large", `A write is larger than ${this.#frameBytes} bytes: divide it.`);
  }

  #fitsFrame(frame: UpdateFrame): boolean {
    const bytes = byteLength(JSON.stringify(frame)) + FRAME_MARGIN;
    return bytes <= this.#frameBytes && (frame.ops?.length ?? 0) <= this.#mostOperations;
  }

  /** Take a write; return a function that takes it back if it was never sent. */
  #takeWrite(frame: WriteFrame, settle: Settle): () => void {
    // The condition of a first value belongs to this value alone, so no other update may join it.
    if (this.#batch && frame.type === "update" && !frame.if_absent) return this.#batch.takeUpdate(frame, settle);
    // Earlier writes go first.
    this.flush();
    const write = this.outbox.addWrite(frame);
    write.settle = settle;
    this.#findReplicaOf(write)?.expectWrite(write);
    return () => {
      if (this.outbox.withdrawWrite(write)) this.#findReplicaOf(write)?.settleWrite(write, null);
    };
  }

  /**
   * Move writes from a refused base to the present one, with digests of the values that each of them replaced, because
   * the server no longer has the changes in between.
   */
  #rebaseWrites(write: Write, reason: string): readonly Write[] {
    if (write.frame.type !== "update") return [];
    const { doc, base = 0, epoch } = write.frame;
    const position = this.#findReplicaOf(write)?.position ?? null;
    const moved: Write[] = [];
    for (const later of this.outbox.writes) {
      const frame = later.frame;
      if (later.seq < write.seq || frame.type !== "update" || frame.doc !== doc || frame.epoch !== epoch) continue;
      if (reason === "too_old" && (frame.base ?? 0) > base) continue;
      later.frame = moveBase(frame, position);
      moved.push(later);
    }
    return moved;
  }

  #findReplicaOf(write: Write): Replica | undefined {
    return write.frame.type === "update" ? this.#port.findReplica(write.frame.doc) : undefined;
  }
}
