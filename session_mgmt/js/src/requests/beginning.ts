/** Subscriber that receives the value of a topic first, then the publications that the value does not contain. */

import type { Unsubscribe } from "../emitter";
import type { SessionError } from "../errors";
import type { Position } from "../frames";
import type { PublicationPlace, SubscribeOptions, TopicListener, TopicSource, TopicsPort } from "../publications";
import type { Json } from "../values";
import { Questions } from "./questions";

interface ValueReply {
  position: Position;
  data: Json;
}

export class Beginning {
  /** Settled when the value was delivered. */
  readonly subscribed: Promise<boolean>;
  readonly #questions: Questions;
  readonly #listener: TopicListener;
  readonly #tellValue: (value: Json) => void;
  readonly #tellError: (error: SessionError) => void;
  readonly #ends: Unsubscribe[] = [];
  /** The value contains publications up to this offset. Null until the value arrives; a gap makes it null again. */
  #offset: number | null = null;
  #waiting: [data: Json, place: PublicationPlace][] = [];
  /** Number of the last request for the value: after two gaps the first answer is out of date. */
  #reading = 0;

  constructor(
    topics: TopicSource,
    port: TopicsPort,
    topic: string,
    listener: TopicListener,
    { snapshot, ...options }: SubscribeOptions,
  ) {
    this.#questions = new Questions(port, topic);
    this.#listener = listener;
    this.#tellValue = snapshot as (value: Json) => void;
    this.#tellError = (error) => port.tellDenied(topic, error);
    const subscription = topics.subscribe(topic, (data, place) => this.#take(data, place), options);
    this.#ends.push(() => this.#questions.close(), subscription);
    this.#ends.push(topics.onGap((gap) => void (gap.log === `topic:${topic}` && this.#readAnew())));
    this.subscribed = this.#begin(subscription.subscribed);
  }

  close(): void {
    for (const end of this.#ends.splice(0)) end();
    this.#reading = 0;
  }

  async #begin(subscribed: Promise<boolean>): Promise<boolean> {
    try {
      const isComplete = await subscribed;
      await this.#read();
      return isComplete;
    } catch (error) {
      this.close();
      throw error;
    }
  }

  async #read(): Promise<void> {
    this.#reading += 1;
    const mine = this.#reading;
    const { position, data } = await this.#questions.ask<ValueReply>("value");
    if (mine !== this.#reading) return;
    this.#tellValue(data);
    this.#letGo(position[1]);
  }

  #readAnew(): void {
    this.#offset = null;
    this.#waiting = [];
    this.#read().catch((error: SessionError) => {
      if (!this.#ends.length) return;
      // The publications continue without a value.
      this.#tellError(error);
      this.#letGo(-1);
    });
  }

  #letGo(offset: number): void {
    this.#offset = offset;
    for (const [data, place] of this.#waiting.splice(0)) this.#take(data, place);
  }

  /** Deliver a publication; before the value has arrived, keep it. */
  #take(data: Json, place: PublicationPlace): void {
    if (this.#offset === null) this.#waiting.push([data, place]);
    else if (place.offset === null || place.offset > this.#offset) this.#listener(data, place);
  }
}
