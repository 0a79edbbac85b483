/**
 * Frames from a client, over HTTP: one call at a time; frames that arrive meanwhile go together in the next call. A
 * call without an answer is repeated unchanged, because only a receipt decides.
 */

import type { Clock } from "../environment";
import type { ServerFrame } from "../frames";
import { pause } from "../pause";
import { byteLength } from "../values";
import { CallFailure, type Answer } from "./calls";

/** Frame of a client, with the fields that matter here. */
export interface SentFrame {
  type: string;
  id?: number;
  seq?: number;
  doc?: string;
  log?: string;
  slow?: string;
  filter?: object;
}

export interface SenderPort {
  /** Send frames, given as JSON texts. Rejects with a CallFailure. */
  send(texts: readonly string[], documents: readonly string[], signal: AbortSignal): Promise<Answer>;
  /** Handle an answer; return false if the attachment has ended. */
  takeAnswer(answer: Answer): boolean;
  /** End the attachment. */
  fail(failure: CallFailure): void;
}

interface Item {
  frame: SentFrame;
  text: string;
  bytes: number;
}

const MOST_FRAMES = 100;
const FRAME_BYTES = 262_144;
/** Milliseconds before a call without an answer is repeated, or frames that the answer has left out are sent again. */
const AGAIN_AFTER = 1_000;
/** Longest such wait, after many answers that have left out all frames. */
const LONGEST_REST = 16_000;
const ATTEMPTS = 2;

export class Sender {
  /** Largest number of bytes for the frames of one call. */
  mostBytes = FRAME_BYTES;
  readonly #clock: Clock;
  readonly #port: SenderPort;
  readonly #stop = new AbortController();
  readonly #random: () => number;
  #queue: Item[] = [];
  #isPlanned = false;
  #isPaused = false;
  /** Ends the wait before frames are sent again. */
  #resting = new AbortController();
  /** Call in progress; settles when it ends. */
  #flight: Promise<void> | null = null;

  constructor(clock: Clock, random: () => number, port: SenderPort) {
    this.#clock = clock;
    this.#random = random;
    this.#port = port;
  }

  /** Send a frame with the next call; return the length of its text. */
  add(frame: SentFrame): number {
    const text = JSON.stringify(frame);
    this.#queue.push({ frame, text, bytes: byteLength(text) + 1 });
    this.#planFlight();
    return text.length;
  }

  /** Begin no more calls. Resolves when none is in progress. */
  async pause(): Promise<void> {
    this.#isPaused = true;
    this.#resting.abort();
    await this.#flight;
  }

  resume(): void {
    this.#isPaused = false;
    this.#planFlight();
  }

  stop(): void {
    this.#stop.abort();
    this.#resting.abort();
    this.#queue = [];
  }

  #planFlight(): void {
    if (this.#isPlanned) return;
    this.#isPlanned = true;
    // Frames of one turn go in one call.
    queueMicrotask(() => {
      this.#isPlanned = false;
      if (this.#flight || this.#isIdle()) return;
      this.#flight = this.#fly().finally(() => {
        this.#flight = null;
        // A frame may have arrived after the last look.
        if (!this.#isIdle()) this.#planFlight();
      });
    });
  }

  #isIdle(): boolean {
    return this.#isPaused || this.#stop.signal.aborted || this.#queue.length === 0;
  }

  async #fly(): Promise<void> {
    for (let rest = AGAIN_AFTER; !this.#isIdle(); ) {
      const batch = this.#takeBatch();
      const answer = await this.#sendBatch(batch);
      if (!answer || !this.#port.takeAnswer(answer)) return;
      const left = listUnanswered(batch, answer.frames);
      this.#queue.unshift(...left);
      // The server has handled a part of the frames, so the rest follows soon.
      if (left.length < batch.length) rest = AGAIN_AFTER;
      if (left.length === 0) continue;
      this.#resting = new AbortController();
      await pause(this.#clock, rest, this.#resting.signal).catch(() => undefined);
      rest = Math.min(LONGEST_REST, rest * 2);
    }
  }

  /** Send until there is an answer; return null if the attachment has ended. */
  async #sendBatch(batch: Item[]): Promise<Answer | null> {
    let sent = batch;
    for (let lost = 0; ; ) {
      try {
        return await this.#port.send(sent.map(({ text }) => text), listDocuments(sent), this.#stop.signal);
      } catch (error) {
        if (this.#stop.signal.aborted || !(error instanceof CallFailure)) return null;
        if (error.kind === "lost") lost += 1;
        if (lost >= ATTEMPTS || (error.kind !== "lost" && !error.isPassing)) {
          this.#port.fail(error);
          return null;
        }
        const wait = (error.ending.retryAfter ?? 0) * 1000 + this.#random() * AGAIN_AFTER;
        if (!(await this.#rest(wait))) return null;
        // A frame without a number or id could take effect twice.
        sent = batch.filter(({ frame }) => frame.id !== undefined || frame.seq !== undefined);
      }
    }
  }

  #takeBatch(): Item[] {
    let bytes = 0;
    const fits = (item: Item, at: number): boolean => {
      bytes += item.bytes;
      return at === 0 || (at < MOST_FRAMES && bytes <= this.mostBytes);
    };
    const end = this.#queue.findIndex((item, at) => !fits(item, at));
    return this.#queue.splice(0, end < 0 ? this.#queue.length : end);
  }

  /** Wait; return false if the sending was stopped meanwhile. */
  #rest(milliseconds: number): Promise<boolean> {
    const wait = pause(this.#clock, milliseconds, this.#stop.signal);
    return wait.then(() => true, () => false);
  }
}

/** Return the documents that frames write to. */
function listDocuments(batch: readonly Item[]): string[] {
  const written = batch.filter(({ frame }) => frame.type === "update");
  return [...new Set(written.map(({ frame }) => `state:${frame.doc}`))];
}

/** Return the frames that expect an answer and have none. */
function listUnanswered(batch: readonly Item[], answers: readonly ServerFrame[]): Item[] {
  const numbers = new Set<unknown>();
  const ids = new Set<unknown>();
  for (const answer of answers) {
    if ("seq" in answer) numbers.add(answer.seq);
    if ("id" in answer) ids.add(answer.id);
  }
  return batch.filter(({ frame: { seq, id } }) =>
    seq !== undefined ? !numbers.has(seq) : id !== undefined && !ids.has(id),
  );
}
