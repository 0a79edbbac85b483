/** Topics: publications arrive once and in order, missed ones first (PROTOCOL section 7). */

import type { KnownTopic, PublicationOf } from "./application";
import { Emitter, type Unsubscribe } from "./emitter";
import { silenceRejection, type SessionError } from "./errors";
import type { Gap } from "./events";
import type { Position, PublishFrame } from "./frames";
import type { Logbook, Reader } from "./logbook";
import type { ClientRecord } from "./record";
import type { Stats } from "./stats";
import type { Json } from "./values";

/** Place of a publication in its topic; an ephemeral one has none. */
export type PublicationPlace =
  | { epoch: string; offset: number; tag: string; ephemeral: false }
  | { epoch: null; offset: null; tag: null; ephemeral: true };

export type TopicListener<Data = Json> = (data: Data, place: PublicationPlace) => void;

export interface PublishOptions {
  /** Publications of one topic with one key are one publication. */
  key?: string;
  /** Deliver only to those who are connected now: not kept, not repeated, dropped without a connection. */
  ephemeral?: boolean;
  signal?: AbortSignal;
}

export interface TopicsPort {
  publishEntry(frame: Omit<PublishFrame, "type">, signal: AbortSignal | undefined): Promise<Position | null>;
  publishEphemeral(topic: string, data: Json): Promise<null>;
  tellDenied(topic: string, error: SessionError): void;
}

const NOWHERE: PublicationPlace = { epoch: null, offset: null, tag: null, ephemeral: true };

export class Topics<T = Json> {
  readonly #logbook: Logbook;
  readonly #record: ClientRecord;
  readonly #stats: Stats;
  readonly #port: TopicsPort;
  readonly #listeners = new Emitter<Record<string, [data: Json, place: PublicationPlace]>>();
  readonly #counts = new Map<string, number>();
  readonly #gaps = new Emitter<{ gap: [gap: Gap] }>();

  constructor(logbook: Logbook, record: ClientRecord, stats: Stats, port: TopicsPort) {
    this.#logbook = logbook;
    this.#record = record;
    this.#stats = stats;
    this.#port = port;
  }

  /** Follow a topic from where this tab left it, else from now on. A refusal is an `error` with `facts.topic`. */
  subscribe<const Topic extends string>(
    topic: Topic & KnownTopic<T, Topic>,
    listener: TopicListener<PublicationOf<T, Topic>>,
  ): Unsubscribe {
    const stop = this.#listeners.on(topic, listener as TopicListener);
    const count = this.#counts.get(topic) ?? 0;
    this.#counts.set(topic, count + 1);
    const log = nameLog(topic);
    // A denied one is asked for anew: the rights may have come back.
    if (count === 0 || this.#logbook.isDenied(log)) this.#logbook.followLog(log, this.#buildReader(topic));
    let active = true;
    return () => {
      if (active) this.#leaveTopic(topic, stop);
      active = false;
    };
  }

  /** Publish; resolves with the position when the server has it, with null at once if ephemeral. */
  publish<const Topic extends string>(
    topic: Topic & KnownTopic<T, Topic>,
    data: PublicationOf<T, NoInfer<Topic>>,
    { key, ephemeral, signal }: PublishOptions = {},
  ): Promise<Position | null> {
    const frame = { topic, data, ...(key === undefined ? {} : { key }) };
    const { publishEphemeral, publishEntry } = this.#port;
    return silenceRejection(ephemeral ? publishEphemeral(topic, data) : publishEntry(frame, signal));
  }

  onGap(listener: (gap: Gap) => void): Unsubscribe {
    return this.#gaps.on("gap", listener);
  }

  /** Take an `ephemeral` frame. */
  takeEphemeral(topic: string, data: Json): void {
    this.#listeners.emit(topic, data, NOWHERE);
  }

  clearListeners(): void {
    this.#listeners.clear();
    this.#gaps.clear();
  }

  #leaveTopic(topic: string, stop: Unsubscribe): void {
    stop();
    const count = (this.#counts.get(topic) ?? 1) - 1;
    this.#counts.set(topic, count);
    if (count === 0) this.#logbook.unfollowLog(nameLog(topic));
  }

  #buildReader(topic: string): Reader {
    const log = nameLog(topic);
    return {
      start: this.#record.readPosition(log),
      moveTo: (position) => this.#record.setPosition(log, position),
      takeGap: (gap) => this.#gaps.emit("gap", gap),
      handleDenial: (error) => this.#port.tellDenied(topic, error),
      takeEntry: (data, [epoch, offset, tag]) => {
        this.#stats.count("publications");
        this.#listeners.emit(topic, data, { epoch, offset, tag, ephemeral: false });
      },
    };
  }
}

function nameLog(topic: string): string {
  return `topic:${topic}`;
}
