/** What tabs of one browser tell each other about the end of their session. */

import type { ChannelLike, Environment } from "./environment";

interface Ended {
  ended?: string;
  reason?: string;
}

export interface NeighboursPort {
  /** Look at storage: another tab has changed it. */
  look(): void;
  /** Take the end of a session that another tab tells. */
  takeEnd(session: string, reason: string): void;
}

export class Neighbours {
  readonly #env: Environment;
  readonly #channel: ChannelLike | null;
  readonly #lookIfOurs: (event: Event) => void;

  constructor(env: Environment, scope: string, port: NeighboursPort) {
    this.#env = env;
    this.#channel = env.Channel ? new env.Channel(`${scope}identity`) : null;
    if (this.#channel) this.#channel.onmessage = ({ data }) => takeMessage(data as Ended, port);
    // Without a key everything was cleared.
    this.#lookIfOurs = (event) => {
      const { key } = event as StorageEvent;
      if (key === null || key === `${scope}session`) port.look();
    };
    env.page?.window.addEventListener("storage", this.#lookIfOurs);
  }

  tellEnd(session: string, reason: string): void {
    this.#channel?.postMessage({ ended: session, reason });
  }

  close(): void {
    this.#channel?.close();
    this.#env.page?.window.removeEventListener("storage", this.#lookIfOurs);
  }
}

function takeMessage({ ended, reason }: Ended, port: NeighboursPort): void {
  if (typeof ended === "string") port.takeEnd(ended, reason ?? "logged_out");
}
