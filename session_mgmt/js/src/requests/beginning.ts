/** Subscriber who is given the value of the topic first, and of the publications those that the value has not. */

import type { Unsubscribe } from "../emitter";
import type { SessionError } from "../errors";
import type { Position } from "../frames";
import type { PublicationPlace, SubscribeOptions, TopicListener, Topics, TopicsPort } from "../topics";
import type { Json } from "../values";
import { Questions } from "./questions";

interface ValueReply {
  position: Position;
  data: Json;
}

export class Beginning {
  /** Settled once the value was told. */
  readonly subscribed: Promise<boolean>;
  readonly #questions: Questions;
  readonly #listener: TopicListener;
  readonly #tellValue: (value: Json) => void;
  readonly #tellError: (error: SessionError) => void;
  readonly #ends: Unsubscribe[] = [];
  /** Offset up to which publications are in the value; null until it is here, and after a gap until the next one. */
  #offset: number | null = null;
  #waiting: [data: Json, place: PublicationPlace][] = [];
  /** Number of the last reading: after two gaps the first answer is out of date. */
  #reading = 0;

  constructor(
    topics: Topics,
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
      // The publications go on without a value.
      this.#tellError(error);
      this.#letGo(-1);
    });
  }

  #letGo(offset: number): void {
    this.#offset = offset;
    for (const [data, place] of this.#waiting.splice(0)) this.#take(data, place);
  }

  /** Take a publication: those that come before the value wait for it. */
  #take(data: Json, place: PublicationPlace): void {
    if (this.#offset === null) this.#waiting.push([data, place]);
    else if (place.offset === null || place.offset > this.#offset) this.#listener(data, place);
  }
}
