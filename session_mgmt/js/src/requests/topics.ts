/** Questions about a topic, over the connection (PROTOCOL section 7): its past, and who is there. */

import { SessionError } from "../errors";
import type { PastOptions, PastPage, PastReply, Topics, TopicsPort } from "../topics";
import { Presence } from "./presence";

export class TopicRequests {
  readonly #topics: Topics;
  readonly #port: TopicsPort;

  constructor(topics: Topics, port: TopicsPort) {
    this.#topics = topics;
    this.#port = port;
  }

  /** See who is there, kept up to date until it is closed; `enter` makes this client a member. */
  presence(topic: string): Promise<Presence> {
    return new Presence(this.#topics, this.#port, topic).begin();
  }

  /** Read the newest publications before a place, or of all, the newest last; no subscription is needed. */
  async history(topic: string, { before = null, limit }: PastOptions = {}): Promise<PastPage> {
    const reply = await this.#port.askSocket<PastReply>({ type: "history", log: `topic:${topic}`, before, limit });
    if (!reply) throw SessionError.local("network_error", "No answer came: ask again while connected.", true);
    const { epoch, entries, more } = reply;
    return { entries: entries.map(([offset, tag, data, at]) => ({ data, at, position: [epoch, offset, tag] })), more };
  }
}
