/** Members of a topic, kept up to date by the presence log of the topic (PROTOCOL section 7). */

import { Emitter, type Unsubscribe } from "../emitter";
import type { Position } from "../frames";
import type { TopicSource, TopicsPort } from "../publications";
import type { Json } from "../values";
import { Questions } from "./questions";

/** Member of a topic with its own data; `since` is ISO 8601. */
export interface Member {
  data: Json;
  since: string;
}

type MembersById = Record<string, Member>;
type Entry = { count: number } & ({ joined: MembersById; changed: MembersById; left: string[] } | { members?: MembersById });

interface MembersReply {
  position: Position;
  count: number;
  members: MembersById | null;
}

export class Presence {
  /** Members by id, in a new object after each change; null while there are more than the topic shows. */
  members: MembersById | null = {};
  count = 0;
  readonly #topics: TopicSource;
  readonly #port: TopicsPort;
  readonly #questions: Questions;
  readonly #topic: string;
  readonly #listeners = new Emitter<{ change: [] }>();
  readonly #ends: Unsubscribe[] = [];
  /** Entries up to this offset are applied. Null before the first answer; a gap makes it null again. */
  #offset: number | null = null;
  #waiting: [entry: Entry, offset: number][] = [];
  /** Own data of this client while it is a member. */
  #entered: { data: Json } | null = null;

  constructor(topics: TopicSource, port: TopicsPort, topic: string) {
    this.#topics = topics;
    this.#port = port;
    this.#topic = topic;
    this.#questions = new Questions(port, topic);
  }

  /** Follow the log, and read the members. Call it once, as `presence()` does. */
  async begin(): Promise<this> {
    const log = `presence:${this.#topic}`;
    const subscription = this.#topics.subscribe(log, (entry, { offset }) => this.#take(entry as Entry, offset ?? 0));
    this.#ends.push(subscription, this.#topics.onGap((gap) => void (gap.log === `topic:${log}` && this.#readAnew())));
    this.#ends.push(this.#port.events.on("status", (status) => this.#handleStatus(status)));
    try {
      await subscription.subscribed;
      await this.#read();
    } catch (error) {
      this.#end();
      throw error;
    }
    return this;
  }

  /**
   * Enter the topic, or change the data of this client's member. Resolves with the id of the member. The client stays a
   * member over lost connections and server restarts until it leaves.
   */
  async enter(data: Json = null): Promise<string> {
    const before = this.#entered;
    const entered = { data };
    this.#entered = entered;
    try {
      return (await this.#questions.ask<{ member: string }>("enter", entered)).member;
    } catch (error) {
      // A member whose new data is refused stays a member.
      if (this.#entered === entered) this.#entered = before;
      throw error;
    }
  }

  /** Change the data of this client's member, as `enter` does. */
  update(data: Json): Promise<string> {
    return this.enter(data);
  }

  /** Leave the topic, but keep the list of members up to date. */
  async leave(): Promise<void> {
    this.#entered = null;
    await this.#questions.ask("leave");
  }

  /** Call `callback` after each change of the members or of their number. */
  on(event: "change", callback: () => void): Unsubscribe {
    return this.#listeners.on(event, callback);
  }

  /** Leave the topic if this client has entered it, and stop following its members. */
  close(): void {
    if (this.#entered) this.#tell("leave");
    this.#end();
  }

  #end(): void {
    this.#entered = null;
    for (const end of this.#ends.splice(0)) end();
    this.#questions.close();
    this.#listeners.clear();
  }

  #handleStatus(status: string): void {
    // If the client was away for longer than the grace period, the server has removed its member.
    if (status === "connected" && this.#entered) this.#tell("enter", this.#entered);
  }

  #tell(type: string, more?: object): void {
    void this.#questions.askOnce(type, more).catch(() => undefined);
  }

  async #read(): Promise<void> {
    const { position, count, members } = await this.#questions.ask<MembersReply>("members");
    this.#offset = position[1];
    this.count = count;
    this.members = members;
    for (const [entry, offset] of this.#waiting.splice(0)) this.#apply(entry, offset);
    this.#listeners.emit("change");
  }

  #readAnew(): void {
    this.#offset = null;
    this.#waiting = [];
    this.#read().catch(() => undefined);
  }

  #take(entry: Entry, offset: number): void {
    if (this.#offset === null) this.#waiting.push([entry, offset]);
    else if (this.#apply(entry, offset)) this.#listeners.emit("change");
  }

  #apply(entry: Entry, offset: number): boolean {
    if (offset <= (this.#offset as number)) return false;
    this.#offset = offset;
    this.count = entry.count;
    if (!("joined" in entry)) this.members = entry.members ?? null;
    else if (this.members) {
      const members = { ...this.members, ...entry.joined, ...entry.changed };
      for (const id of entry.left) delete members[id];
      this.members = members;
    }
    return true;
  }
}
