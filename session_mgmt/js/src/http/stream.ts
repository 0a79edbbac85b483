/** Frames of an event stream, read from the body of an answer. */

import type { Clock } from "../environment";
import { decodeFrame, type ServerFrame } from "../frames";

/**
 * Milliseconds from the first bytes within which the first `ping` must come, unless something holds the stream back.
 */
const PING_WITHIN = 3_000;
const SILENCE = 35_000;

export interface StreamPort {
  takeFrame(frame: ServerFrame, length: number): void;
  /** End the stream, because something on the way holds it back. */
  endBuffered(): void;
  /** End the stream, because nothing came for too long. */
  endSilent(): void;
}

/** Check that a stream flows, from the moment of its request. */
export class FlowWatch {
  readonly #clock: Clock;
  readonly #port: Pick<StreamPort, "endBuffered" | "endSilent">;
  #timer: unknown = null;
  #awaits: "first" | "ping" | "anything" = "first";

  /** `patience`: milliseconds within which the first bytes must come. */
  constructor(clock: Clock, port: Pick<StreamPort, "endBuffered" | "endSilent">, patience: number) {
    this.#clock = clock;
    this.#port = port;
    this.#plan(() => port.endBuffered(), patience);
  }

  noteBytes(): void {
    if (this.#awaits === "ping") return;
    if (this.#awaits === "anything") return this.#plan(() => this.#port.endSilent(), SILENCE);
    this.#awaits = "ping";
    this.#plan(() => this.#port.endBuffered(), PING_WITHIN);
  }

  notePing(): void {
    this.#awaits = "anything";
    this.noteBytes();
  }

  stop(): void {
    this.#clock.clearTimeout(this.#timer);
  }

  #plan(act: () => void, milliseconds: number): void {
    this.stop();
    this.#timer = this.#clock.setTimeout(act, milliseconds);
  }
}

/** Read a stream to its end, and handle every frame. Rejects if the stream breaks. */
export async function readStream(body: ReadableStream<Uint8Array>, watch: FlowWatch, port: StreamPort): Promise<void> {
  const reader = body.getReader();
  // The bytes of one character may arrive in two pieces.
  const decoder = new TextDecoder();
  let rest = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      watch.noteBytes();
      const events = (rest + decoder.decode(value, { stream: true })).split("\n\n");
      rest = events.pop() ?? "";
      for (const event of events) takeEvent(event, watch, port);
    }
  } finally {
    // After a frame that cannot be handled, the rest would come to nobody.
    reader.cancel().catch(() => undefined);
  }
}

function takeEvent(event: string, watch: FlowWatch, port: StreamPort): void {
  if (!event.startsWith("data:")) return;
  const text = event.slice("data:".length);
  const frame = decodeFrame(text);
  if (!frame) return;
  if (frame.type === "ping") watch.notePing();
  port.takeFrame(frame, text.length);
}
