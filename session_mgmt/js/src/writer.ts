/** Takes the application's writes: checks them, keeps them in the outbox, and settles their promises. */

import type { Emitter } from "./emitter";
import type { Clock } from "./environment";
import { SessionError } from "./errors";
import type { SessionEvents, UnsentWrite } from "./events";
import type { PublishFrame, ReceiptFrame, WriteFrame } from "./frames";
import { Outbox, type OutboxBounds, type Write } from "./outbox";
import type { ClientRecord } from "./record";
import type { Replica } from "./replica";
import type { Stats } from "./stats";
import { byteLength, checked, DEFAULT_VALUE_LIMITS, type Json, type ValueLimits } from "./values";

export interface WriterPort {
  /** False if there is no connection to send on. */
  send(frame: object): boolean;
  replica(document: string): Replica | undefined;
  /** The connection must be given up: it cannot decide the first write. */
  stuck(): void;
}

const FRAME_BYTES = 262_144;
/** What a frame says around its write. */
const FRAME_MARGIN = 64;

export class Writer {
  readonly outbox: Outbox;
  limits: ValueLimits = DEFAULT_VALUE_LIMITS;
  readonly #emitter: Emitter<SessionEvents>;
  readonly #stats: Stats;
  readonly #port: WriterPort;
  #frameBytes = FRAME_BYTES;

  constructor(
    record: ClientRecord,
    clock: Clock,
    bounds: OutboxBounds,
    emitter: Emitter<SessionEvents>,
    stats: Stats,
    port: WriterPort,
  ) {
    this.#emitter = emitter;
    this.#stats = stats;
    this.#port = port;
    const { send, stuck } = port;
    this.outbox = new Outbox(record, clock, { send, stuck, rebase: (write) => this.#rebase(write) }, bounds);
  }

  takeLimits(limits: Record<string, number>): void {
    this.#frameBytes = limits.frame_bytes ?? FRAME_BYTES;
    this.limits = {
      depth: limits.depth ?? DEFAULT_VALUE_LIMITS.depth,
      keyBytes: limits.key_bytes ?? DEFAULT_VALUE_LIMITS.keyBytes,
      stringBytes: limits.string_bytes ?? DEFAULT_VALUE_LIMITS.stringBytes,
    };
  }

  /** Numbers and keeps a write; resolves with its good receipt, rejects with the refusal. */
  write(content: () => WriteFrame, signal?: AbortSignal): Promise<ReceiptFrame> {
    return new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(signal.reason);
      const write = this.outbox.add(this.#fitting(content()));
      write.settle = (answer) => (answer instanceof SessionError ? reject(answer) : resolve(answer));
      this.#replicaOf(write)?.expect(write);
      signal?.addEventListener("abort", () => this.#aborted(write, signal, reject), { once: true });
    });
  }

  async send(data: Json, signal?: AbortSignal): Promise<Json> {
    return (await this.write(() => ({ type: "send", data: checked(data, this.limits) }), signal)).data;
  }

  publish(frame: Omit<PublishFrame, "type">, signal?: AbortSignal): Promise<ReceiptFrame> {
    return this.write(() => ({ type: "publish", ...frame, data: checked(frame.data, this.limits) }), signal);
  }

  receipt(frame: ReceiptFrame): void {
    const write = this.outbox.receipt(frame);
    if (!write) return;
    this.#stats.count(frame.ok ? "receipts" : "refusals");
    this.#replicaOf(write)?.answered(write, frame.ok ? (frame.position ?? null) : null);
    if (frame.ok) return write.settle?.(frame);
    const error = new SessionError(frame.error ?? {});
    this.#emitter.emit("error", error);
    write.settle?.(error);
  }

  /** Gives up what was not confirmed, and begins to count anew. */
  abandon(reason: string): UnsentWrite[] {
    const writes = this.outbox.abandon();
    const error = SessionError.local(reason, `The write can no longer be sent: ${reason}.`);
    for (const write of writes) write.settle?.(error);
    return writes.map(({ seq, frame }) => ({ seq, write: frame }));
  }

  /** Ends the waiting; the writes stay for the next page. */
  destroy(): void {
    this.outbox.detach();
    const error = SessionError.local("destroyed", "The client was destroyed; its writes wait for the next start.");
    for (const write of this.outbox.writes) write.settle?.(error);
  }

  #fitting(frame: WriteFrame): WriteFrame {
    if (byteLength(JSON.stringify(frame)) + FRAME_MARGIN <= this.#frameBytes) return frame;
    // The server would end the connection for it, again and again.
    throw SessionError.local("frame_too_large", `A write is larger than ${this.#frameBytes} bytes.`);
  }

  #aborted(write: Write, signal: AbortSignal, reject: (reason: unknown) => void): void {
    if (this.outbox.withdraw(write)) this.#replicaOf(write)?.answered(write, null);
    reject(signal.reason);
  }

  #rebase(write: Write): void {
    if (write.frame.type !== "update") return;
    const replica = this.#replicaOf(write);
    const { base: _base, epoch: _epoch, ...frame } = write.frame;
    // Of a document that this page does not follow no version is known.
    if (!replica) write.frame = frame;
    else if (replica.position) write.frame = { ...frame, base: replica.position[1], epoch: replica.position[0] };
  }

  #replicaOf(write: Write): Replica | undefined {
    return write.frame.type === "update" ? this.#port.replica(write.frame.doc) : undefined;
  }
}
