/** Waits that end by a signal or by time. */

import type { Clock } from "./environment";

/** Wait so many milliseconds. Rejects with the reason of the signal when it is aborted. */
export function pause(clock: Clock, milliseconds: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(signal.reason);
    const stop = (): void => {
      clock.clearTimeout(timer);
      reject(signal?.reason);
    };
    const timer = clock.setTimeout(() => {
      signal?.removeEventListener("abort", stop);
      resolve();
    }, milliseconds);
    signal?.addEventListener("abort", stop, { once: true });
  });
}

/**
 * Run `work` with its own signal, which is aborted with the reason of `signal`, or after so many milliseconds with
 * `late`. Rejects with that reason; also if `signal` is aborted already.
 */
export async function limitTime<T>(
  clock: Clock,
  milliseconds: number,
  work: (signal: AbortSignal) => Promise<T>,
  signal?: AbortSignal,
  late?: Error,
): Promise<T> {
  signal?.throwIfAborted();
  const limit = new AbortController();
  const stop = (): void => limit.abort(signal?.reason);
  signal?.addEventListener("abort", stop, { once: true });
  const timer = clock.setTimeout(() => limit.abort(late), milliseconds);
  try {
    return await work(limit.signal);
  } finally {
    clock.clearTimeout(timer);
    signal?.removeEventListener("abort", stop);
  }
}
