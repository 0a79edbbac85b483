/** Controls of the connection for the application. */

import { isAmount, requireThat } from "./arguments";
import type { RetryPolicy } from "./backoff";
import type { Connection } from "./connection";
import type { Emitter, Unsubscribe } from "./emitter";
import type { Clock } from "./environment";
import { silenceRejection, type SessionError } from "./errors";
import type { SessionEntry, SessionEvents } from "./events";
import { loadRequests } from "./loading";
import type { ConnectionSettings } from "./requests/wishes";
import type { ClientStats } from "./stats";
import type { WriteOptions } from "./state";
import type { Json } from "./values";

export interface ConnectionConfig extends Partial<RetryPolicy> {
  /** Seconds without a frame after which the connection counts as lost. */
  deadline?: number;
  /** Seconds between two beats of the server. */
  interval?: number;
  /** Number of beats that may be missed in a row. */
  missedLimit?: number;
  /** Seconds for which the server collects frames before it sends them together. */
  batch?: number;
}

// Browsers run the timers of a hidden page once a minute.
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
  /** Settings to request from the server on each connection. */
  #wishes: Record<string, number> = {};

  constructor(connection: Connection, emitter: Emitter<SessionEvents>, clock: Clock, port: ControlsPort) {
    this.#connection = connection;
    this.#emitter = emitter;
    this.#clock = clock;
    this.#port = port;
    // A change of the transport does not change the status, so `status` events would not be enough.
    connection.attaching.add(() => void this.#askForWishes().catch((error) => emitter.emit("error", error)));
  }

  /** Connect. Resolves when the client is connected. */
  connect(): Promise<void> {
    return this.#connection.connect();
  }

  /** Disconnect, and stay disconnected until `connect`. Writes wait meanwhile. */
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

  /** Request a sign of life from the server every `interval` seconds. Returns a function that ends it. */
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
   * Override settings that the server gives. `interval`, `missedLimit` and `batch` are requested from the server, now
   * and on each later connection. Resolves with the settings in effect, or with null without a connection. Rejects with
   * the allowed range if a value is outside it.
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
      // The server would refuse the same request on each connection.
      if (!(error as SessionError).temporary) this.#wishes = {};
      throw error;
    }
  }
}
