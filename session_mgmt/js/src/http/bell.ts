/** What tabs of a session tell each other while some of them may hold no poll: how far the logs have come. */

import type { ChannelLike, Environment } from "../environment";
import { AGENT, type Position } from "../frames";

/** Return the place in a log that a tab follows: null at its beginning, undefined for a log that it does not follow. */
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
  /** Latest place that another tab has told, by log. */
  readonly #told = new Map<string, Position>();

  /** `ring` is called when another tab tells a place. */
  constructor(env: Environment, ring: () => void) {
    this.#env = env;
    this.#ring = ring;
  }

  /** Tell and hear the tabs of an owner, and no others any more. */
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

  /** Return true if another tab is further in a log than this one. */
  isRung(findPlace: FindPlace): boolean {
    return [...this.#told].some(([log, told]) => {
      const place = findPlace(log);
      return place === null || (place !== undefined && (place[0] !== told[0] || place[1] < told[1]));
    });
  }

  /** Take what was told so far as done: a poll for it is on its way. */
  clear(): void {
    this.#told.clear();
  }
}
