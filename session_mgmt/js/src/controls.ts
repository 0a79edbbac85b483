/** Connection as the application controls it. */

import type { RetryPolicy } from "./backoff";
import type { Connection } from "./connection";
import type { Emitter, Unsubscribe } from "./emitter";
import type { Clock } from "./environment";
import type { SessionEntry, SessionEvents } from "./events";
import type { ClientStats } from "./stats";
import type { WriteOptions } from "./state";
import type { Json } from "./values";

export interface ConnectionConfig extends Partial<RetryPolicy> {
  /** Seconds without a frame after which the connection counts as dead. */
  deadline?: number;
}

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

  constructor(connection: Connection, emitter: Emitter<SessionEvents>, clock: Clock, port: ControlsPort) {
    this.#connection = connection;
    this.#emitter = emitter;
    this.#clock = clock;
    this.#port = port;
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
    this.stopHeartbeat();
    const sendBeat = (): void => {
      this.#beat = this.#clock.setTimeout(sendBeat, interval * 1000);
      this.#connection.heartbeat.startDoubt();
    };
    this.#beat = this.#clock.setTimeout(sendBeat, interval * 1000);
    return () => this.stopHeartbeat();
  }

  stopHeartbeat(): void {
    this.#clock.clearTimeout(this.#beat);
    this.#beat = null;
  }

  /** Go before what the server says. */
  setConnectionConfig({ deadline, ...retry }: ConnectionConfig): void {
    this.#connection.configure(retry, deadline);
  }
}
