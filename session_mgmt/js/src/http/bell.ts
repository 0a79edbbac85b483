/** Messages between the tabs of a session about how far its logs have come, for tabs that hold no poll. */

import type { ChannelLike, Environment } from "../environment";
import { AGENT, type Position } from "../frames";

/** Return this tab's position in a log: null at its beginning, undefined if the tab does not follow the log. */
export type FindPlace = (log: string) => Position | null | undefined;

interface Told {
  log: string;
  position: Position;
}

export class Bell {
  readonly #env: Environment;
  readonly #ring: () => void;
  #channel: ChannelLike | null = null;
  #name = "";
  /** Latest position that another tab has reported, by log. */
  readonly #told = new Map<string, Position>();

  /** `ring`: called when another tab reports a position. */
  constructor(env: Environment, ring: () => void) {
    this.#env = env;
    this.#ring = ring;
  }

  /** Exchange messages with the tabs of this owner only. */
  open(owner: string): void {
    const name = `session-mgmt:${owner}:${AGENT}:places`;
    if (this.#channel && name === this.#name) return;
    this.close();
    this.#name = name;
    this.#channel = this.#env.Channel && new this.#env.Channel(name);
    if (!this.#channel) return;
    this.#channel.onmessage = ({ data }) => {
      const { log, position } = data as Told;
      if (typeof log !== "string" || !Array.isArray(position)) return;
      this.#told.set(log, position);
      this.#ring();
    };
  }

  close(): void {
    this.#channel?.close();
    this.#channel = null;
    this.#told.clear();
  }

  tell(log: string, position: Position): void {
    this.#channel?.postMessage({ log, position } satisfies Told);
  }

  /** Return true if another tab is further ahead in a log than this one. */
  isRung(findPlace: FindPlace): boolean {
    return [...this.#told].some(([log, told]) => {
      const place = findPlace(log);
      return place === null || (place !== undefined && (place[0] !== told[0] || place[1] < told[1]));
    });
  }

  /** Forget the reported positions, because a poll is on its way. */
  clear(): void {
    this.#told.clear();
  }
}
