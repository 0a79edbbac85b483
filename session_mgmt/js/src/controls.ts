/** Connection as the application controls it. */

import { isAmount, requireThat } from "./arguments";
import type { RetryPolicy } from "./backoff";
import type { Connection } from "./connection";
import type { Emitter, Unsubscribe } from "./emitter";
import type { Clock } from "./environment";
import { silenceRejection, type SessionError } from "./errors";
import type { SessionEntry, SessionEvents } from "./events";
import { loadRequests } from "./loading";
import type { ClientStats } from "./stats";
import type { WriteOptions } from "./state";
import type { Json } from "./values";

export interface ConnectionConfig extends Partial<RetryPolicy> {
  /** Seconds without a frame after which the connection counts as dead. */
  deadline?: number;
  /** Seconds between two beats of the server. */
  interval?: number;
  /** Beats in a row that may be missed. */
  missedLimit?: number;
  /** Seconds for which the server gathers what it sends. */
  batch?: number;
}

/** What holds for a connection, in seconds. */
export interface ConnectionSettings {
  interval: number;
  missedLimit: number;
  batch: number;
  deadline: number;
}

// Timers of a page that nobody looks at ring once a minute.
const HIDDEN_EVERY = 60;

export interface ControlsPort {
  send(data: Json, options?: WriteOptions): Promise<Json>;
  stats(): ClientStats;
}

export class ConnectionControls {
  readonly #connection: Connection;
  readonly #emitter: Emitter<SessionEvents>;
  readonly #clock: Clock;
  readonly #port: ControlsPort;
  #beat: unknown = null;
  /** Asked of the server anew for each connection. */
  #wishes: Record<string, number> = {};

  constructor(connection: Connection, emitter: Emitter<SessionEvents>, clock: Clock, port: ControlsPort) {
    this.#connection = connection;
    this.#emitter = emitter;
    this.#clock = clock;
    this.#port = port;
    // Also after a change of the transport, of which the status tells nothing.
    connection.attaching.add(() => void this.#askForWishes().catch((error) => emitter.emit("error", error)));
  }

  /** Connect; resolves when connected. */
  connect(): Promise<void> {
    return this.#connection.connect();
  }

  /** Disconnect and stay away until `connect`; writes wait meanwhile. */
  disconnect(): void {
    this.#connection.disconnect();
  }

  reconnect(): Promise<void> {
    return this.#connection.reconnect();
  }

  isConnected(): boolean {
    return this.#connection.connected;
  }

  send(data: Json, options?: WriteOptions): Promise<Json> {
    return this.#port.send(data, options);
  }

  onMessage(listener: (data: Json, entry: SessionEntry) => void): Unsubscribe {
    return this.#emitter.on("message", listener);
  }

  getConnectionStats(): ClientStats {
    return this.#port.stats();
  }

  /** Ask the server for a sign of life every `interval` seconds; return the function that ends it. */
  setupHeartbeat(interval = 25): Unsubscribe {
    requireThat(isAmount(interval) && interval > 0, "interval is a number above 0");
    this.stopHeartbeat();
    const sendBeat = (): void => {
      const seconds = this.#connection.isHidden ? Math.max(interval, HIDDEN_EVERY) : interval;
      this.#beat = this.#clock.setTimeout(sendBeat, seconds * 1000);
      this.#connection.heartbeat.startDoubt();
    };
    if (!this.#connection.closed.aborted) this.#beat = this.#clock.setTimeout(sendBeat, interval * 1000);
    return () => this.stopHeartbeat();
  }

  stopHeartbeat(): void {
    this.#clock.clearTimeout(this.#beat);
    this.#beat = null;
  }

  /**
   * Go before what the server says; beats and batching are asked of the server, now and for each later connection.
   * Resolves with what holds, or null while there is no connection. Rejects with the range for a value outside it.
   */
  setConnectionConfig(config: ConnectionConfig): Promise<ConnectionSettings | null> {
    for (const [name, value] of Object.entries(config)) requireThat(value === undefined || isAmount(value), `${name} is a number`);
    const { deadline, interval, missedLimit, batch, ...retry } = config;
    this.#connection.configure(retry, deadline);
    const given = { interval, missed_limit: missedLimit, batch };
    for (const [name, value] of Object.entries(given)) if (value !== undefined) this.#wishes[name] = value;
    return silenceRejection(this.#askForWishes());
  }

  async #askForWishes(): Promise<ConnectionSettings | null> {
    if (Object.keys(this.#wishes).length === 0) return null;
    try {
      return await (await loadRequests()).askForWishes(this.#connection, this.#clock, this.#wishes);
    } catch (error) {
      // Asked for again, it would be refused at each connection.
      if (!(error as SessionError).temporary) this.#wishes = {};
      throw error;
    }
  }
}
