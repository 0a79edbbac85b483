/** Delayed synchronisation: updates are added to the newest unsent write, and sent together. */

import { coalesceOperations } from "./coalesce";
import type { Clock } from "./environment";
import type { SessionError } from "./errors";
import type { ReceiptFrame, UpdateFrame } from "./frames";
import { operationsOf } from "./merge";
import type { Operation } from "./operations";
import type { Outbox, Write } from "./outbox";
import { watchLeaving } from "./leaving";
import type { PageLike } from "./page";
import type { digestReplaced } from "./replaced";
import type { Replica } from "./replica";
import type { Json } from "./values";

/** Timing of updates, in milliseconds. */
export interface SyncOptions {
  mode: "immediate" | "delayed";
  /** Wait after the last update. */
  delay?: number;
  /** Longest wait after the first update, however many follow. */
  maxDelay?: number;
}

/** Options, the loaded class that applies them, and the page, which may be closed before the time has come. */
export type Sync = SyncOptions & { Batch: typeof Batch; page: PageLike | null };

export type Settle = (answer: ReceiptFrame | SessionError) => void;

export interface BatchPort {
  fitsFrame(frame: UpdateFrame): boolean;
  findReplica(document: string): Replica | undefined;
  digestReplaced: typeof digestReplaced;
}

interface Part {
  frame: UpdateFrame;
  settle: Settle;
}

interface Draft {
  write: Write;
  /** Value before the first update. */
  view: Json;
  parts: Part[];
  began: number;
}

const DELAY = 200;
const MAX_DELAY = 2000;

export class Batch {
  readonly #outbox: Outbox;
  readonly #clock: Clock;
  readonly #port: BatchPort;
  readonly #delay: number;
  readonly #maxDelay: number;
  readonly #unwatch: () => void;
  #draft: Draft | null = null;
  #timer: unknown = null;

  constructor(outbox: Outbox, clock: Clock, sync: Sync, port: BatchPort) {
    this.#outbox = outbox;
    this.#clock = clock;
    this.#delay = sync.delay ?? DELAY;
    this.#maxDelay = sync.maxDelay ?? MAX_DELAY;
    this.#port = port;
    this.#unwatch = watchLeaving(sync.page, () => this.flush());
  }

  /**
   * Add an update if it fits into the frame; return a function that takes it back, and returns false after it was sent.
   */
  takeUpdate(frame: UpdateFrame, settle: Settle): () => boolean {
    const part = { frame, settle };
    const draft = this.#joinDraft(part) ?? this.#beginDraft(part);
    this.#planFlush(draft);
    return () => this.#takeBackPart(draft, part);
  }

  /** Send the collected updates. Without a connection they stay in the outbox, and take no more updates. */
  flush(): void {
    this.#clearTimer();
    const draft = this.#draft;
    this.#draft = null;
    if (draft) this.#outbox.releaseWrite(draft.write);
  }

  /** Drop the draft, because the outbox has dropped its write. */
  dropDraft(): void {
    this.#clearTimer();
    this.#draft = null;
  }

  close(): void {
    this.dropDraft();
    this.#unwatch();
  }

  #beginDraft(part: Part): Draft {
    this.flush();
    const replica = this.#port.findReplica(part.frame.doc);
    const view = replica?.view;
    const write = this.#outbox.addWrite(part.frame, true);
    const draft = { write, view, parts: [part], began: this.#clock.now() };
    write.settle = (answer) => draft.parts.forEach(({ settle }) => settle(answer));
    replica?.expectWrite(write);
    this.#draft = draft;
    return draft;
  }

  #joinDraft(part: Part): Draft | null {
    const draft = this.#draft;
    if (!draft || !haveSameGround(draft.write.frame as UpdateFrame, part.frame)) return null;
    const ops = coalesceOperations(operationsOf(draft.write.frame as UpdateFrame), operationsOf(part.frame));
    const frame = this.#amendFrame(draft, ops);
    if (!this.#port.fitsFrame(frame)) return null;
    this.#outbox.amendWrite(draft.write, frame);
    draft.parts.push(part);
    this.#port.findReplica(frame.doc)?.showAmended("local");
    return draft;
  }

  #takeBackPart(draft: Draft, part: Part): boolean {
    const { write, parts } = draft;
    if (write.sent || !this.#outbox.writes.includes(write)) return false;
    const replica = this.#port.findReplica(part.frame.doc);
    parts.splice(parts.indexOf(part), 1);
    if (parts.length > 0) {
      const ops = parts.map(({ frame }) => operationsOf(frame)).reduce((list, more) => coalesceOperations(list, more));
      this.#outbox.amendWrite(write, this.#amendFrame(draft, ops));
      replica?.showAmended("server");
      return true;
    }
    if (this.#draft === draft) this.dropDraft();
    this.#outbox.withdrawWrite(write);
    replica?.settleWrite(write, null);
    return true;
  }

  #amendFrame({ write, view }: Draft, ops: readonly Operation[]): UpdateFrame {
    const { ops: _ops, merge: _merge, data: _data, replaced: _replaced, ...around } = write.frame as UpdateFrame;
    const replaced = around.base === undefined ? {} : { replaced: this.#port.digestReplaced(view, ops) };
    return { ...around, ...replaced, ops: [...ops] };
  }

  #planFlush(draft: Draft): void {
    this.#clearTimer();
    const left = draft.began + this.#maxDelay - this.#clock.now();
    this.#timer = this.#clock.setTimeout(() => this.flush(), Math.max(0, Math.min(this.#delay, left)));
  }

  #clearTimer(): void {
    if (this.#timer !== null) this.#clock.clearTimeout(this.#timer);
    this.#timer = null;
  }
}

/**
 * Return true if two updates may be sent as one. On different bases the server would find other conflicts; an atomic
 * update would be refused together with the other one.
 */
function haveSameGround(a: UpdateFrame, b: UpdateFrame): boolean {
  if (a.atomic || b.atomic) return false;
  return a.doc === b.doc && a.strategy === b.strategy && a.base === b.base && a.epoch === b.epoch && a.tag === b.tag;
}
