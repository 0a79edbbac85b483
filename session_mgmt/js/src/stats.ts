/** Counters of one client since its start. */

import type { Carrier } from "./transport";

export interface ClientStats {
  /** Present or last transport; null before the first connection. */
  transport: Carrier | null;
  connections: number;
  reconnects: number;
  framesSent: number;
  framesReceived: number;
  /** Characters of JSON text. */
  charactersSent: number;
  charactersReceived: number;
  /** Recoveries by the verdict of the server. */
  recoveries: Record<"full" | "state_only" | "none", number>;
  gaps: number;
  messages: number;
  publications: number;
  receipts: number;
  refusals: number;
  /** Beats of the server that were missed. */
  missedBeats: number;
  latency: Latency;
  pending: number;
}

/**
 * Round-trip times in milliseconds; null before the first one. Over a WebSocket the server measures each beat; over
 * HTTP the client measures calls that are answered at once. `jitter_ms` is the average difference between two
 * consecutive times.
 */
export interface Latency {
  last_ms: number | null;
  average_ms: number | null;
  p95_ms: number | null;
  jitter_ms: number | null;
}

type Counter = Exclude<keyof ClientStats, "transport" | "recoveries" | "latency" | "pending">;

const LATENCIES_KEPT = 100;

export class Stats {
  readonly #counted: Record<Counter, number> = {
    ...{ connections: 0, reconnects: 0, framesSent: 0, framesReceived: 0, charactersSent: 0, charactersReceived: 0 },
    ...{ gaps: 0, messages: 0, publications: 0, receipts: 0, refusals: 0, missedBeats: 0 },
  };
  readonly #recoveries = { full: 0, state_only: 0, none: 0 };
  readonly #latencies: number[] = [];

  count(counter: Counter, by = 1): void {
    this.#counted[counter] += by;
  }

  countRecovery(verdict: "full" | "state_only" | "none"): void {
    this.#recoveries[verdict] += 1;
  }

  addLatency(milliseconds: number): void {
    this.#latencies.push(milliseconds);
    if (this.#latencies.length > LATENCIES_KEPT) this.#latencies.shift();
  }

  buildSummary(pending: number, transport: Carrier | null): ClientStats {
    const latency = summarizeLatencies(this.#latencies);
    return { transport, ...this.#counted, recoveries: { ...this.#recoveries }, latency, pending };
  }
}

function summarizeLatencies(values: readonly number[]): Latency {
  const sorted = [...values].sort((a, b) => a - b);
  const steps = values.slice(1).map((value, at) => Math.abs(value - (values[at] as number)));
  return {
    last_ms: values.at(-1) ?? null,
    average_ms: averageOf(values),
    p95_ms: sorted[Math.ceil(sorted.length * 0.95) - 1] ?? null,
    jitter_ms: averageOf(steps) ?? (values.length ? 0 : null),
  };
}

function averageOf(values: readonly number[]): number | null {
  return values.length ? values.reduce((sum, value) => sum + value, 0) / values.length : null;
}
