/**
 * Polls of an attachment, one after the other, as long as the attachment lives. A stream is a poll whose answer goes
 * on; when it ends, the next poll follows.
 */

import type { Environment } from "../environment";
import type { ServerFrame } from "../frames";
import { pause } from "../pause";
import { CallFailure, makeLost, readAnswer, type Answer } from "./calls";
import { FlowWatch, readStream } from "./stream";

export type Mode = "sse" | "longpoll";

export interface PollerPort {
  /** Send a poll; the answer is a stream if `mode` asks for one. Rejects with a CallFailure. */
  send(hold: number, mode: Mode, signal: AbortSignal): Promise<Response>;
  /** Handle frames; return false if the attachment has ended. */
  takeAnswer(answer: Answer): boolean;
  /** End the attachment. */
  fail(failure: CallFailure): void;
  /** Note that something holds streams back. */
  leaveStreams(): void;
  /** Choose the pace of the next poll; `isAnew`: something waits for it. Rejects if the signal is aborted. */
  choosePace(signal: AbortSignal, isAnew: boolean): Promise<Pace>;
  tellRoundTrip?(milliseconds: number): void;
  tellMissed?(missed: number): void;
}

/** Pace of a poll. */
export interface Pace {
  /** False if the server should answer at once. */
  isHeld: boolean;
  /** Seconds to wait before the next poll. */
  wait: number;
  /** Aborted when the poll may no longer be held. */
  until?: AbortSignal | null;
}

/** Seconds to wait for an answer, in addition to the time for which the server holds the poll. */
const ANSWER_WITHIN = 10;
/** Milliseconds to wait for an answer if the connection is in doubt. */
const SIGN_WITHIN = 3_000;
/** Milliseconds to wait for the first bytes of a stream, in addition to a round trip. */
const FIRST_BYTES_WITHIN = 2_000;
/** Least seconds between polls that the server should have held but answered at once. */
const SHORTEST = 1;
const LONGEST_HOLD = 55;
const AGAIN_AFTER = 1_000;
const ATTEMPTS = 2;

export class Poller {
  mode: Mode;
  /** Seconds for which the server holds a poll without news. */
  hold = 25;
  readonly #env: Environment;
  readonly #port: PollerPort;
  #call = new AbortController();
  #isStopped = false;
  /** Milliseconds of the last round trip. */
  #roundTrip = 0;
  /** True if the next poll must be answered at once, to test the connection. */
  #isInDoubt = false;
  /** True for the first poll, and for one that asks for something else. */
  #isAnew = true;

  constructor(env: Environment, mode: Mode, port: PollerPort) {
    this.#env = env;
    this.mode = mode;
    this.#port = port;
  }

  start(): void {
    void this.#run();
  }

  /** Poll anew, because the list of logs has changed or the user looks at the page. */
  restart(isInDoubt = false): void {
    this.#isInDoubt ||= isInDoubt;
    this.#isAnew = true;
    this.#call.abort();
  }

  stop(): void {
    this.#isStopped = true;
    this.#call.abort();
  }

  /** Measure the round trip of a call that began at this time and was answered at once. */
  noteRoundTrip(begun: number): void {
    // The clock may have been set back.
    this.#roundTrip = Math.max(0, this.#env.clock.now() - begun);
    this.#port.tellRoundTrip?.(this.#roundTrip);
  }

  async #run(): Promise<void> {
    // Subscriptions in the same turn as the start go with the first poll.
    await null;
    for (let lost = 0; !this.#isStopped; ) {
      const call = (this.#call = new AbortController());
      try {
        const wait = await this.#poll(call);
        lost = 0;
        await this.#rest(wait * 1000, call.signal);
      } catch (error) {
        if (this.#isStopped) return;
        // Aborted to send another poll.
        if (call.signal.aborted && !(call.signal.reason instanceof CallFailure)) continue;
        const failure = this.#readFailure(error, call.signal);
        if (failure === null) continue;
        if (failure.kind === "lost") {
          lost += 1;
          // If the network is gone, the next poll must not wait long for its answer.
          this.#isInDoubt = true;
          this.#port.tellMissed?.(lost);
        }
        if (lost >= ATTEMPTS || (failure.kind !== "lost" && !failure.isPassing)) return this.#port.fail(failure);
        await this.#rest((failure.ending.retryAfter ?? 0) * 1000 + this.#env.random() * AGAIN_AFTER, call.signal);
      }
    }
  }

  /** Return why a poll failed; null if the next one is a poll of another kind. */
  #readFailure(error: unknown, signal: AbortSignal): CallFailure | null {
    const failure = signal.reason instanceof CallFailure ? signal.reason : error;
    if (!(failure instanceof CallFailure)) return makeLost();
    const isRefusedStream = this.mode === "sse" && failure.status === 406;
    if (!isRefusedStream && failure !== BUFFERED) return failure;
    this.mode = "longpoll";
    this.#port.leaveStreams();
    return null;
  }

  /** Poll once; return the seconds to wait before the next poll. */
  async #poll(call: AbortController): Promise<number> {
    const isInDoubt = this.#isInDoubt;
    const pace: Pace = isInDoubt ? { isHeld: false, wait: 0 } : await this.#port.choosePace(call.signal, this.#isAnew);
    call.signal.throwIfAborted();
    this.#isAnew = false;
    const begun = this.#env.clock.now();
    const isStream = pace.isHeld && this.mode === "sse";
    const end = (): void => call.abort();
    pace.until?.addEventListener("abort", end);
    const answering = isStream ? this.#stream(call) : this.#ask(call, pace.isHeld, isInDoubt);
    const { frames, nextIn } = await answering.finally(() => pace.until?.removeEventListener("abort", end));
    this.#isInDoubt = false;
    if (frames.length > 0) return pace.isHeld ? nextIn : Math.max(nextIn, pace.wait);
    const isShort = pace.isHeld && this.#env.clock.now() - begun < SHORTEST * 1000;
    return Math.max(nextIn, pace.wait, isShort ? SHORTEST : 0);
  }

  async #ask(call: AbortController, isHeld: boolean, isInDoubt: boolean): Promise<Answer> {
    const hold = isHeld ? Math.min(LONGEST_HOLD, this.hold) : 0;
    const patience = isInDoubt ? Math.max(SIGN_WITHIN, 4 * this.#roundTrip) : (hold + ANSWER_WITHIN) * 1000;
    const begun = this.#env.clock.now();
    const timer = this.#env.clock.setTimeout(() => call.abort(makeLost("heartbeat_lost")), patience);
    try {
      const answer = await readAnswer(await this.#port.send(hold, "longpoll", call.signal));
      call.signal.throwIfAborted();
      if (!isHeld) this.noteRoundTrip(begun);
      this.#port.takeAnswer(answer);
      return answer;
    } finally {
      this.#env.clock.clearTimeout(timer);
    }
  }

  async #stream(call: AbortController): Promise<Answer> {
    const frames: ServerFrame[] = [];
    const port = {
      takeFrame: (frame: ServerFrame, length: number): void => {
        if (call.signal.aborted) return;
        frames.push(frame);
        this.#port.takeAnswer({ frames: [frame], nextIn: 0, length });
      },
      endBuffered: () => call.abort(BUFFERED),
      endSilent: () => call.abort(makeLost("heartbeat_lost")),
    };
    const begun = this.#env.clock.now();
    const watch = new FlowWatch(this.#env.clock, port, FIRST_BYTES_WITHIN + this.#roundTrip);
    try {
      const response = await this.#port.send(this.hold, "sse", call.signal);
      if (!response.headers.get("Content-Type")?.startsWith("text/event-stream")) port.endBuffered();
      call.signal.throwIfAborted();
      this.noteRoundTrip(begun);
      if (response.body) await readStream(response.body, watch, port);
      call.signal.throwIfAborted();
      return { frames, nextIn: 0, length: 0 };
    } finally {
      watch.stop();
    }
  }

  /** Wait, but end the wait when a new poll is wanted. */
  async #rest(milliseconds: number, signal: AbortSignal): Promise<void> {
    if (milliseconds > 0) await pause(this.#env.clock, milliseconds, signal).catch(() => undefined);
  }
}

/** Reason for the end of a stream that something on the way holds back. */
const BUFFERED = makeLost("stream_buffered");
