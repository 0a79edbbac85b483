/** Questions about a topic. A question without an answer is asked again on the next connection. */

import type { Unsubscribe } from "../emitter";
import { SessionError } from "../errors";
import type { TopicsPort } from "../publications";

export class Questions {
  readonly #port: TopicsPort;
  readonly #topic: string;
  readonly #stop: Unsubscribe;
  /** Callbacks of calls that wait for the next connection. */
  readonly #waking = new Set<(error: SessionError | null) => void>();

  constructor(port: TopicsPort, topic: string) {
    this.#port = port;
    this.#topic = topic;
    port.closed.addEventListener("abort", this.#wakeAtEnd);
    this.#stop = port.events.on("status", (status) => {
      if (status === "connected") this.#wake(null);
      else if (status === "disconnected" || status === "failed") {
        this.#wake(SessionError.local("network_error", "There is no connection: connect, and ask again.", true));
      }
    });
  }

  /** Ask on this connection; without an answer, ask again on the next one. */
  async ask<Answer>(type: string, more?: object): Promise<Answer> {
    for (;;) {
      this.#port.closed.throwIfAborted();
      const connected = new Promise<SessionError | null>((resolve) => this.#waking.add(resolve));
      const answer = await this.askOnce<Answer>(type, more);
      if (answer) return answer;
      const error = await connected;
      if (error) throw error;
    }
  }

  /** Ask on this connection. Resolves with null without a connection or an answer. */
  askOnce<Answer>(type: string, more: object = {}): Promise<Answer | null> {
    return this.#port.askSocket<Answer>({ type, log: `topic:${this.#topic}`, ...more });
  }

  /** Stop asking. */
  close(): void {
    this.#stop();
    this.#port.closed.removeEventListener("abort", this.#wakeAtEnd);
    this.#wake(SessionError.local("unsubscribed", "It was closed before the server had answered."));
  }

  readonly #wakeAtEnd = (): void => this.#wake(this.#port.closed.reason);

  #wake(error: SessionError | null): void {
    const waking = [...this.#waking];
    this.#waking.clear();
    for (const resolve of waking) resolve(error);
  }
}
