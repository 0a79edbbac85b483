/** Counters of one client since it was started. */

import type { Carrier } from "./transport";

export interface ClientStats {
  /** What carries the frames, or carried the last ones; null before the first connection. */
  transport: Carrier | null;
  connections: number;
  reconnects: number;
  framesSent: number;
  framesReceived: number;
  /** Characters of JSON text. */
  charactersSent: number;
  charactersReceived: number;
  /** Recoveries by the server's verdict. */
  recoveries: Record<"full" | "state_only" | "none", number>;
  gaps: number;
  messages: number;
  publications: number;
  receipts: number;
  refusals: number;
  /** Beats of the server that did not come. */
  missedBeats: number;
  /** Round trips in milliseconds as the server measured them; null before the first. */
  latency: { last: number | null; average: number | null; p95: number | null; jitter: number | null };
  pending: number;
}

type Counter = "gaps" | "messages" | "publications" | "receipts" | "refusals" | "missedBeats";

const LATENCIES_KEPT = 100;

export class Stats {
  readonly #counted = { gaps: 0, messages: 0, publications: 0, receipts: 0, refusals: 0, missedBeats: 0 };
  readonly #recoveries = { full: 0, state_only: 0, none: 0 };
  readonly #latencies: number[] = [];
  #connections = 0;
  #reconnects = 0;
  #sent = { frames: 0, characters: 0 };
  #received = { frames: 0, characters: 0 };

  countSent(characters: number): void {
    this.#sent = { frames: this.#sent.frames + 1, characters: this.#sent.characters + characters };
  }

  countReceived(characters: number): void {
    this.#received = { frames: this.#received.frames + 1, characters: this.#received.characters + characters };
  }

  countConnection(again: boolean): void {
    this.#connections += 1;
    if (again) this.#reconnects += 1;
  }

  countRecovery(verdict: "full" | "state_only" | "none"): void {
    this.#recoveries[verdict] += 1;
  }

  count(counter: Counter): void {
    this.#counted[counter] += 1;
  }

  addLatency(milliseconds: number): void {
    this.#latencies.push(milliseconds);
    if (this.#latencies.length > LATENCIES_KEPT) this.#latencies.shift();
  }

  buildSummary(pending: number, transport: Carrier | null): ClientStats {
    return {
      transport,
      connections: this.#connections,
      reconnects: this.#reconnects,
      framesSent: this.#sent.frames,
      framesReceived: this.#received.frames,
      charactersSent: this.#sent.characters,
      charactersReceived: this.#received.characters,
      recoveries: { ...this.#recoveries },
      ...this.#counted,
      latency: summarizeLatencies(this.#latencies),
      pending,
    };
  }
}

function summarizeLatencies(values: readonly number[]): ClientStats["latency"] {
  if (values.length === 0) return { last: null, average: null, p95: null, jitter: null };
  const sorted = [...values].sort((a, b) => a - b);
  const steps = values.slice(1).map((value, at) => Math.abs(value - (values[at] as number)));
  return {
    last: values.at(-1) ?? null,
    average: averageOf(values),
    p95: sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * 0.95))] ?? null,
    jitter: steps.length ? averageOf(steps) : 0,
  };
}

function averageOf(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}
