/** Questions about a topic over the connection (PROTOCOL section 7): its past publications and its members. */

import { SessionError } from "../errors";
import type { PastOptions, PastPage, PastReply, TopicSource, TopicsPort } from "../publications";
import { Presence } from "./presence";

export class TopicRequests {
  readonly #topics: TopicSource;
  readonly #port: TopicsPort;

  constructor(topics: TopicSource, port: TopicsPort) {
    this.#topics = topics;
    this.#port = port;
  }

  /**
   * List the members of a topic and keep the list up to date until it is closed. `enter` makes this client a member.
   */
  presence(topic: string): Promise<Presence> {
    return new Presence(this.#topics, this.#port, topic).begin();
  }

  /**
   * Read past publications before a position, by default the newest ones; the newest one is last. No subscription is
   * needed.
   */
  async history(topic: string, { before = null, limit }: PastOptions = {}): Promise<PastPage> {
    const reply = await this.#port.askSocket<PastReply>({ type: "history", log: `topic:${topic}`, before, limit });
    if (!reply) throw SessionError.local("network_error", "No answer came: ask again while connected.", true);
    const { epoch, entries, more } = reply;
    return { entries: entries.map(([offset, tag, data, at]) => ({ data, at, position: [epoch, offset, tag] })), more };
  }
}
