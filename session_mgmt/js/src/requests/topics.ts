/** Questions about the past of a topic, over the connection (PROTOCOL section 7). */

import { SessionError } from "../errors";
import type { PastOptions, PastPage, TopicsPort } from "../topics";

export class TopicRequests {
  readonly #ask: TopicsPort["askSocket"];

  constructor(ask: TopicsPort["askSocket"]) {
    this.#ask = ask;
  }

  /** Read the newest publications before a place, or of all, the newest last; no subscription is needed. */
  async history(topic: string, { before = null, limit }: PastOptions = {}): Promise<PastPage> {
    const reply = await this.#ask({ type: "history", log: `topic:${topic}`, before, limit });
    if (!reply) throw SessionError.local("network_error", "No answer came: ask again while connected.", true);
    const { epoch, entries, more } = reply;
    return { entries: entries.map(([offset, tag, data, at]) => ({ data, at, position: [epoch, offset, tag] })), more };
  }
}
