/**
 * Numbered writes of a client, from the call to the receipt (PROTOCOL section 5). They keep their numbers over lost
 * connections and reloads, are sent in order, and are sent again from the first undecided one.
 */

import type { Clock } from "./environment";
import { SessionError } from "./errors";
import type { ReceiptFrame, UpdateFrame, WriteFrame } from "./frames";
import { toWire } from "./wire";
import { byteLength } from "./values";

export interface OutboxBounds {
  writes: number;
  bytes: number;
}

const DEFAULT_BOUNDS: OutboxBounds = { writes: 1000, bytes: 1_048_576 };

const ACK_EVERY = 32;
const RETRY_FIRST = 0.25;
const RETRY_MOST = 10;

/** Storage of an outbox: the record of a tab, or the writes of a closed tab. */
export interface OutboxRecord {
  /** Number of the next write. */
  next: number;
  /** Highest number that may have been sent. */
  sent: number;
  readWrites(): [seq: number, write: WriteFrame][];
  storeWrite(seq: number, write: WriteFrame, held?: boolean): void;
  dropWrite(seq: number): void;
  /** Note that a stored number is given to another write. */
  guardNumbers(): void;
  /** Return true if sending must wait; then `resume` is called later. */
  awaitStored(resume: () => void): boolean;
}

export interface Write {
  seq: number;
  frame: WriteFrame;
  bytes: number;
  /** True if the write may have reached the server, so that no other write may ever get its number. */
  sent: boolean;
  /** True if the storage said so when this page began. */
  wasSent: boolean;
  /** True for the last write while more updates may be added to it. It is not sent until it is released. */
  held: boolean;
  /** True if another page may have sent the write under this number. */
  restored: boolean;
  /** Number of transmissions on this connection without a receipt. */
  unanswered: number;
  settle?: (receipt: ReceiptFrame | SessionError) => void;
}

export interface OutboxPort {
  /** Send a frame; return false without a connection. */
  sendFrame(frame: object): boolean;
  /** Move an update, and later ones that depend on it, to a newer base; return all of them. */
  rebaseWrites(write: Write, reason: string): readonly Write[];
  /** Drop a connection that cannot decide the first write. */
  abandonConnection(): void;
  /** Report that the number of waiting writes has changed. */
  tellPending?(): void;
}

export class Outbox {
  readonly #record: OutboxRecord;
  readonly #clock: Clock;
  readonly #port: OutboxPort;
  readonly #bounds: OutboxBounds;
  #writes: Write[] = [];
  #bytes = 0;
  #attached = false;
  /** Highest number that the server had decided when this connection began. */
  #decided = 0;
  readonly #resume = (): void => this.#sendWaiting();
  /** Index of the first write that was not sent on this connection. */
  #cursor = 0;
  #sinceAck = 0;
  #retries = 0;
  #timer: unknown = null;

  constructor(record: OutboxRecord, clock: Clock, port: OutboxPort, bounds?: Partial<OutboxBounds>) {
    this.#record = record;
    this.#clock = clock;
    this.#port = port;
    this.#bounds = { ...DEFAULT_BOUNDS, ...bounds };
    this.reload();
  }

  get size(): number {
    return this.#writes.length;
  }

  get writes(): readonly Write[] {
    return this.#writes;
  }

  /** Highest number up to which all receipts have arrived. */
  get acked(): number {
    return (this.#writes[0]?.seq ?? this.#record.next) - 1;
  }

  /** Number and store a write; send it if there is a connection and it is not held. Throws `outbox_full`. */
  addWrite(frame: WriteFrame, held = false): Write {
    const bytes = byteLength(JSON.stringify(frame));
    if (this.size >= this.#bounds.writes) throw makeFullError();
    this.#demandRoom(bytes);
    const seq = this.#record.next;
    this.#record.storeWrite(seq, frame, held);
    this.#record.next = seq + 1;
    const write = this.#appendWrite(seq, frame, false, bytes);
    write.held = held;
    this.#sendWaiting();
    return write;
  }

  /** Replace the content of a write that was never sent, and store it at once. Throws `outbox_full`. */
  amendWrite(write: Write, frame: WriteFrame): void {
    const bytes = byteLength(JSON.stringify(frame));
    this.#demandRoom(bytes - write.bytes);
    this.#record.storeWrite(write.seq, frame, write.held);
    if (!write.held) this.#record.guardNumbers();
    this.#bytes += bytes - write.bytes;
    write.frame = frame;
    write.bytes = bytes;
  }

  releaseWrite(write: Write): void {
    write.held = false;
    this.#record.storeWrite(write.seq, write.frame);
    this.#sendWaiting();
  }

  /** Take back a write that was never sent; return false if it may have reached the server. */
  withdrawWrite(write: Write): boolean {
    const at = this.#writes.indexOf(write);
    if (at < 0 || write.sent) return false;
    this.#removeAt(at);
    // Writes are sent in order, so later ones were not sent either, and can be renumbered to close the gap.
    this.#renumberFrom(at, write.seq);
    return true;
  }

  /** Begin to send on a new connection. The server has decided all writes up to `lastSeq`. */
  attach(lastSeq: number): void {
    this.detach();
    this.#attached = true;
    this.#cursor = 0;
    this.#decided = lastSeq;
    this.#skipDecided(lastSeq);
    for (const write of this.#writes) write.unanswered = 0;
    this.#sendWaiting();
  }

  detach(): void {
    this.#attached = false;
    this.#clearTimer();
  }

  /** Handle a receipt; return the write that it settles, or null. */
  takeReceipt(receipt: ReceiptFrame): Write | null {
    const at = this.#writes.findIndex((write) => write.seq === receipt.seq);
    const write = this.#writes[at];
    if (!write) return null;
    write.unanswered = Math.max(0, write.unanswered - 1);
    const name = receipt.ok ? null : receipt.error?.name;
    // A newer connection of this client gets the answer; this one is about to be closed.
    if (name === "replaced") return null;
    if (!receipt.ok && receipt.error?.temporary) {
      this.#planRetry(at, write, receipt);
      return null;
    }
    this.#retries = 0;
    // The number belongs to another write: the server has other content for it, or had its receipt confirmed although
    // this write was never sent.
    const isOther = name === "seq_reused" || (name === "receipt_gone" && !write.wasSent);
    if (isOther && at === 0 && this.#isDoubtful(write)) {
      this.#renumberFrom(0, this.#decided + 1);
      this.#cursor = 0;
      this.#sendWaiting();
      return null;
    }
    this.#removeAt(at);
    this.#countReceipt();
    this.#sendWaiting();
    return write;
  }

  /** Empty the outbox and count from 1 again, for a new client; return the writes that get no answer any more. */
  abandonWrites(): Write[] {
    this.detach();
    const abandoned = this.#writes;
    for (const write of abandoned) this.#record.dropWrite(write.seq);
    this.#writes = [];
    this.#bytes = 0;
    this.#record.next = 1;
    this.#record.sent = 0;
    this.#record.guardNumbers();
    this.#port.tellPending?.();
    return abandoned;
  }

  /**
   * Read the record again, because another page may have used it; return the writes that are no longer in it. Numbers
   * from `lateFrom` on were given only by this page, so these writes have other numbers in the record.
   */
  reload(lateFrom = Infinity): Write[] {
    this.detach();
    const gone = this.#writes;
    this.#writes = [];
    this.#bytes = 0;
    for (const [seq, frame] of this.#record.readWrites()) {
      const text = describeContent(frame);
      const isIt = (write: Write): boolean =>
        (write.seq === seq || write.seq >= lateFrom) && describeContent(write.frame) === text;
      const at = gone.findIndex(isIt);
      const isNumbered = at >= 0 && gone[at]?.seq !== seq;
      const bytes = byteLength(JSON.stringify(frame));
      const write = this.#appendWrite(seq, frame, seq <= this.#record.sent, bytes, gone[at]);
      // This page has just numbered the late ones itself.
      write.restored = !isNumbered;
      if (at >= 0) gone.splice(at, 1);
    }
    const last = this.#writes.at(-1);
    if (last && last.seq >= this.#record.next) this.#record.next = last.seq + 1;
    return gone;
  }

  #appendWrite(seq: number, frame: WriteFrame, sent: boolean, bytes: number, known: Partial<Write> = {}): Write {
    const state = { sent, wasSent: sent, held: false, restored: false, unanswered: 0 };
    const write: Write = Object.assign(known, { seq, frame, bytes, ...state });
    this.#writes.push(write);
    this.#bytes += bytes;
    this.#port.tellPending?.();
    return write;
  }

  #demandRoom(bytes: number): void {
    if (bytes > 0 && this.#bytes + bytes > this.#bounds.bytes) throw makeFullError();
  }

  #removeAt(at: number): void {
    const [write] = this.#writes.splice(at, 1) as [Write];
    this.#bytes -= write.bytes;
    this.#record.dropWrite(write.seq);
    if (at < this.#cursor) this.#cursor -= 1;
    this.#port.tellPending?.();
  }

  #sendWaiting(): void {
    // While a retry is planned, the server would refuse later numbers with `seq_gap`.
    if (!this.#attached || this.#timer !== null || this.#record.awaitStored(this.#resume)) return;
    for (let write = this.#writes[this.#cursor]; write; write = this.#writes[this.#cursor]) {
      if (write.held || this.#waitsForDoubt()) return;
      // Store this before sending: after a reload, only a higher number may be given to another write.
      if (write.seq > this.#record.sent) this.#record.sent = write.seq;
      if (!this.#port.sendFrame({ ...toWire(write.frame), seq: write.seq })) return;
      write.sent = true;
      write.unanswered += 1;
      this.#cursor += 1;
    }
  }

  /**
   * Return true for a write of an earlier page whose number the server had decided before. Usually only its answer was
   * lost. But if the browser restored an older storage, the number belongs to another write.
   */
  #isDoubtful(write: Write): boolean {
    return write.restored && write.seq <= this.#decided;
  }

  /** Return true while the first write is doubtful and was sent: later ones may need other numbers. */
  #waitsForDoubt(): boolean {
    const first = this.#writes[0];
    return this.#cursor > 0 && first !== undefined && this.#isDoubtful(first);
  }

  #planRetry(at: number, write: Write, receipt: ReceiptFrame): void {
    // The write was sent again since; the receipt of that attempt is still to come.
    if (write.unanswered > 0) return;
    const gap = receipt.error?.name === "seq_gap";
    // The first write waits for no other one. The gap before it closes when `connect` asks again which writes are
    // decided.
    if (gap && at === 0 && this.#timer === null) return this.#port.abandonConnection();
    this.#cursor = Math.min(this.#cursor, at);
    if (this.#timer !== null) return;
    const wait = receipt.error?.retry_after ?? Math.min(RETRY_MOST, RETRY_FIRST * 2 ** this.#retries);
    this.#retries += 1;
    this.#timer = this.#clock.setTimeout(() => this.#retryWrite(write, receipt.error?.name), wait * 1000);
  }

  #retryWrite(write: Write, reason: string | undefined): void {
    this.#timer = null;
    if (reason === "too_old" || reason === "unknown_version" || reason === "epoch_changed") {
      for (const { seq, frame } of this.#port.rebaseWrites(write, reason)) this.#record.storeWrite(seq, frame);
    }
    this.#sendWaiting();
  }

  #countReceipt(): void {
    this.#sinceAck += 1;
    if (this.#sinceAck < ACK_EVERY) return;
    this.#sinceAck = 0;
    this.#port.sendFrame({ type: "ack", seq: this.acked });
  }

  /**
   * Use no number twice after the browser has restored an older storage. Writes that an earlier page has stored keep
   * their numbers until the server tells whose they are: a storage that was full does not tell what was sent. It also
   * lacks the writes of some numbers. Then the later writes move up, because the server decides nothing any more that
   * an earlier connection has sent.
   */
  #skipDecided(lastSeq: number): void {
    let last = lastSeq;
    const misplaced = this.#writes.findIndex(({ seq, sent, restored }) => {
      const isMisplaced = seq > last + 1 || (seq <= lastSeq && !sent && !restored);
      last = Math.max(last, seq);
      return isMisplaced;
    });
    if (misplaced >= 0) this.#renumberFrom(misplaced, Math.max(lastSeq, this.#writes[misplaced - 1]?.seq ?? 0) + 1);
    if (this.#record.next <= lastSeq) this.#record.next = lastSeq + 1;
  }

  #renumberFrom(from: number, first: number): void {
    const moved = this.#writes.slice(from);
    for (const write of moved) this.#record.dropWrite(write.seq);
    moved.forEach((write, at) => {
      write.seq = first + at;
      write.sent = write.restored = false;
      this.#record.storeWrite(write.seq, write.frame, write.held);
    });
    this.#record.next = first + moved.length;
    this.#record.guardNumbers();
  }

  #clearTimer(): void {
    if (this.#timer !== null) this.#clock.clearTimeout(this.#timer);
    this.#timer = null;
  }
}

/** Return a text that is equal for equal writes; another page may have moved an update to another base. */
function describeContent(frame: WriteFrame): string {
  const { base: _base, epoch: _epoch, tag: _tag, unseen: _unseen, ...content } = frame as UpdateFrame;
  return JSON.stringify(content);
}

function makeFullError(): SessionError {
  return SessionError.local("outbox_full", "Too many writes wait: wait for some, or raise `outbox`.", true);
}
