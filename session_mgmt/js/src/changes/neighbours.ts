/** Messages between the tabs of one browser about the end of their session. */

import type { ChannelLike, Environment } from "../environment";
import type { StatusReason } from "../events";
import { watchCache } from "../page";

interface Ended {
  ended?: string;
  reason?: string;
  /** Absent in messages of tabs with an older version. */
  status?: StatusReason;
}

export interface NeighboursPort {
  /** Look in the storage, because another tab has changed it. */
  look(): void;
  /** Handle the end of a session that another tab reports. */
  takeEnd(session: string, reason: string, status?: StatusReason): void;
}

export class Neighbours {
  readonly #env: Environment;
  #channel: ChannelLike | null = null;
  readonly #lookIfOurs: (event: Event) => void;
  readonly #unwatch: () => void;

  constructor(env: Environment, scope: string, port: NeighboursPort) {
    this.#env = env;
    const listen = (): void => {
      this.#channel = env.Channel && new env.Channel(`${scope}identity`);
      if (this.#channel) this.#channel.onmessage = ({ data }) => takeMessage(data as Ended, port);
    };
    listen();
    // A message for a page in the browser's back/forward cache removes the page from there.
    this.#unwatch = watchCache(env.page, () => this.#channel?.close(), listen);
    // An event without a key means that the whole storage was cleared.
    this.#lookIfOurs = (event) => {
      const { key } = event as StorageEvent;
      if (key === null || key === `${scope}session`) port.look();
    };
    env.page?.window.addEventListener("storage", this.#lookIfOurs);
  }

  tellEnd(session: string, reason: string, status: StatusReason): void {
    this.#channel?.postMessage({ ended: session, reason, status });
  }

  close(): void {
    this.#channel?.close();
    this.#unwatch();
    this.#env.page?.window.removeEventListener("storage", this.#lookIfOurs);
  }
}

function takeMessage({ ended, reason, status }: Ended, port: NeighboursPort): void {
  if (typeof ended === "string") port.takeEnd(ended, reason ?? "logged_out", status);
}
