/** Topics: publications arrive once and in order, missed ones first (PROTOCOL section 7). */

import { requireFunction, requireText, requireThat } from "./arguments";
import type { KnownTopic, PublicationOf } from "./application";
import { Emitter, type Unsubscribe } from "./emitter";
import { SessionError, silenceRejection } from "./errors";
import type { Gap, Status } from "./events";
import type { Position, PublishFrame } from "./frames";
import { lendMethods, loadRequests } from "./loading";
import type { Logbook, Reader } from "./logbook";
import type { ClientRecord } from "./record";
import type { TopicRequests } from "./requests/index";
import type { Stats } from "./stats";
import { isObject, normalizeValue, type Json } from "./values";

/**
 * Place of a publication in its topic; an ephemeral one has none. `live` is false for what was published before the
 * server followed the topic on this connection.
 */
export type PublicationPlace = { live: boolean } & (
  | { epoch: string; offset: number; tag: string; ephemeral: false }
  | { epoch: null; offset: null; tag: null; ephemeral: true }
);

export type TopicListener<Data = Json> = (data: Data, place: PublicationPlace) => void;

export interface PublishOptions {
  /** Publications of one topic with one key are one publication. */
  key?: string;
  /** Deliver only to those who are connected now: not kept, not repeated, dropped without a connection. */
  ephemeral?: boolean;
  signal?: AbortSignal;
}

export type FilterValue = string | number | boolean | null;

/** Members of a publication, each with the value that it must have, or several of which it must have one. */
export type TopicFilter<Data = Json> = {
  [Key in keyof Data & string]?: Extract<Data[Key], FilterValue> | { in: Extract<Data[Key], FilterValue>[] };
};

export interface SubscribeOptions<Data = Json> {
  /**
   * How to go on where this tab reads too slowly, of the ways that the topic names; without it by the first one. Of
   * several subscribers of one topic the first decides.
   */
  slow?: "replay" | "latest" | "drop_oldest" | "disconnect";
  /**
   * Where to begin. After a position, which the page was made for: it counts before the place where this tab left the
   * topic. If the tab has no place: with the first publication that is not older than a moment, or so many before the
   * newest (at most 1,000). Of several subscribers the first decides.
   */
  since?: { position: Position } | { time: string | Date } | { last: number };
  /**
   * Only publications with these members, of the keys that the topic names: `{ region: "eu" }`, or
   * `{ region: { in: ["eu", "us"] } }`. Of several subscribers the first decides.
   */
  filter?: TopicFilter<Data>;
  /**
   * Called before all publications with the value that they change, of topics that have one, and again after a gap. A
   * refusal rejects `subscribed`.
   */
  snapshot?: (value: Json) => void;
}

export interface PastOptions {
  /** Only publications before this place; `position` of the first one of the page after. */
  before?: Position | null;
  /** At most 200; 50 by default. */
  limit?: number;
}

/** Page of a topic's past, the newest publication last. */
export interface PastPage {
  /** `at` is ISO 8601. */
  entries: { data: Json; position: Position; at: string }[];
  /** Older ones are kept. */
  more: boolean;
}

/** Answer to `history`. */
export interface PastReply {
  epoch: string;
  entries: [offset: number, tag: string, data: Json, at: string][];
  more: boolean;
}

export interface TopicsPort {
  /** Ask over the connection; null without one, or without an answer. Rejects with the server's refusal. */
  askSocket<Answer>(frame: object): Promise<Answer | null>;
  /** Aborted, with the error, once the client is closed. */
  readonly closed: AbortSignal;
  readonly events: { on(type: "status", callback: (status: Status) => void): Unsubscribe };
  publishEntry(frame: Omit<PublishFrame, "type">, signal: AbortSignal | undefined): Promise<Position | null>;
  publishEphemeral(topic: string, data: Json): Promise<null>;
  tellDenied(topic: string, error: SessionError): void;
}

/** Ends the subscription when it is called. */
export type Subscription = Unsubscribe & {
  /**
   * Settled once the server follows the topic: from then on nothing is missed. Resolves with false if publications
   * since the wished `time` are gone. Rejects with the server's refusal, with `unsubscribed` and with `closed`. A refusal
   * for now (`busy`) is an `error`, and the server is asked again.
   */
  readonly subscribed: Promise<boolean>;
};

interface Waiting {
  resolve(isComplete: boolean): void;
  reject(error: SessionError): void;
}

/** Topic that is followed, for its subscribers. */
class Followed {
  count = 0;
  /** Once the server follows it, whether nothing of the wish is gone; its refusal; null until it has answered. */
  #answer: boolean | SessionError | null = null;
  #waiting = new Set<Waiting>();

  /** Settle all who wait, and those who come. */
  settle(answer: boolean | SessionError): void {
    this.#answer = answer;
    for (const waiting of this.#waiting) settleWaiting(waiting, answer);
    this.#waiting.clear();
  }

  /** Forget a refusal: the server is asked anew. */
  askAgain(): void {
    this.#answer = null;
  }

  /** Return a promise of the answer, and the function that ends the waiting for it. */
  wait(): [subscribed: Promise<boolean>, stop: (error: SessionError) => void] {
    let stop = (_: SessionError): void => undefined;
    const subscribed = new Promise<boolean>((resolve, reject) => {
      const waiting = { resolve, reject };
      if (this.#answer !== null) settleWaiting(waiting, this.#answer);
      else this.#waiting.add(waiting);
      stop = (error) => void (this.#waiting.delete(waiting) && reject(error));
    });
    return [silenceRejection(subscribed), stop];
  }
}

function settleWaiting({ resolve, reject }: Waiting, answer: boolean | SessionError): void {
  if (typeof answer === "boolean") resolve(answer);
  else reject(answer);
}

const NOWHERE: PublicationPlace = { epoch: null, offset: null, tag: null, ephemeral: true, live: true };

export interface Topics<T = Json> extends Pick<TopicRequests, keyof TopicRequests> {}

export class Topics<T = Json> {
  readonly #logbook: Logbook;
  readonly #record: ClientRecord;
  readonly #stats: Stats;
  readonly #port: TopicsPort;
  readonly #listeners = new Emitter<Record<string, [data: Json, place: PublicationPlace]>>();
  readonly #followed = new Map<string, Followed>();
  readonly #gaps = new Emitter<{ gap: [gap: Gap] }>();

  static {
    lendMethods<Topics, TopicRequests>(
      Topics.prototype,
      ["history", "presence"],
      async (self) => new (await loadRequests()).TopicRequests(self, self.#port),
    );
  }

  constructor(logbook: Logbook, record: ClientRecord, stats: Stats, port: TopicsPort) {
    this.#logbook = logbook;
    this.#record = record;
    this.#stats = stats;
    this.#port = port;
  }

  /** Follow a topic from the page's position, else from where this tab left it, else by `since`, else from now on. A refusal is an `error` with `facts.topic`. */
  subscribe<const Topic extends string>(
    topic: Topic & KnownTopic<T, Topic>,
    listener: TopicListener<PublicationOf<T, Topic>>,
    options: SubscribeOptions<PublicationOf<T, NoInfer<Topic>>> = {},
  ): Subscription {
    requireText(topic, "a topic");
    requireFunction(listener, "the callback of a topic");
    const { snapshot } = options;
    // A copy, for it goes into the first frame of each connection.
    const wishes: SubscribeOptions = normalizeValue({ slow: options.slow, since: options.since, filter: options.filter });
    const filter = wishes.filter ?? {};
    requireThat(isObject(wishes.since ?? {}) && isObject(filter), "since and filter are objects");
    if (snapshot) {
      requireFunction(snapshot, "snapshot");
      const begun = loadRequests().then(
        ({ Beginning }) => new Beginning(this as Topics, this.#port, topic, listener as TopicListener, options),
      );
      const subscribed = silenceRejection(begun.then((beginning) => beginning.subscribed));
      return Object.assign(() => void begun.then((beginning) => beginning.close()).catch(() => {}), { subscribed });
    }
    const wanted = Object.entries<Json>(filter);
    const stop = this.#listeners.on(topic, (data, place) => {
      // Here too: one socket for several tabs, or subscribers, brings all of a topic.
      if (wanted.every(([key, value]) => (value?.in ?? [value]).includes((data as Json)?.[key]))) listener(data, place);
    });
    const log = nameLog(topic);
    const followed = this.#followed.get(topic) ?? new Followed();
    this.#followed.set(topic, followed);
    if (this.#port.closed.aborted) followed.settle(this.#port.closed.reason);
    const isDenied = this.#logbook.isDenied(log);
    if (isDenied) followed.askAgain();
    // A denied one is asked for anew: the rights may have come back.
    if (!followed.count || isDenied) this.#logbook.followLog(log, this.#buildReader(topic, followed, wishes));
    followed.count += 1;
    const [subscribed, stopWaiting] = followed.wait();
    let active = true;
    const leave = (): void => {
      if (!active) return;
      active = false;
      stop();
      stopWaiting(SessionError.local("unsubscribed", "The subscription ended unanswered."));
      followed.count -= 1;
      if (!followed.count) this.#logbook.unfollowLog(log);
    };
    return Object.assign(leave, { subscribed });
  }

  /** Publish; resolves with the position when the server has it, with null at once if ephemeral. */
  publish<const Topic extends string>(
    topic: Topic & KnownTopic<T, Topic>,
    data: PublicationOf<T, NoInfer<Topic>>,
    { key, ephemeral, signal }: PublishOptions = {},
  ): Promise<Position | null> {
    const frame = { topic, data, ...(key === undefined ? {} : { key }) };
    const publish = async (): Promise<Position | null> => {
      requireText(topic, "a topic");
      return ephemeral ? this.#port.publishEphemeral(topic, data) : this.#port.publishEntry(frame, signal);
    };
    return silenceRejection(publish());
  }

  /** Return the place after which the next publication of a topic comes; null if it is not followed, or not yet. */
  position(topic: string): Position | null {
    return this.#logbook.position(nameLog(topic));
  }

  onGap(listener: (gap: Gap) => void): Unsubscribe {
    return this.#gaps.on("gap", listener);
  }

  /** Take an `ephemeral` frame. */
  takeEphemeral(topic: string, data: Json): void {
    this.#listeners.emit(topic, data, NOWHERE);
  }

  clearListeners(): void {
    for (const followed of this.#followed.values()) followed.settle(this.#port.closed.reason);
    this.#listeners.clear();
    this.#gaps.clear();
  }

  #buildReader(topic: string, followed: Followed, wishes: SubscribeOptions): Reader {
    const log = nameLog(topic);
    // Last offset that was there before.
    let replayed = 0;
    return {
      start: wishes.since && "position" in wishes.since ? wishes.since.position : this.#record.readPosition(log),
      wishes,
      moveTo: (position) => {
        this.#record.setPosition(log, position);
        // Left at the end of the turn. Who has come back before goes on with the answer that there is.
        if (!position && !followed.count) this.#followed.delete(topic);
      },
      takeGap: (gap) => {
        replayed = 0;
        this.#gaps.emit("gap", gap);
      },
      takeVerdict: ({ mode, to, complete = true }) => {
        replayed = to ?? 0;
        if (mode !== "denied") followed.settle(complete);
      },
      handleDenial: (error) => {
        if (!error.temporary) followed.settle(error);
        this.#port.tellDenied(topic, error);
      },
      takeEntry: (data, [epoch, offset, tag]) => {
        this.#stats.count("publications");
        this.#listeners.emit(topic, data, { epoch, offset, tag, ephemeral: false, live: offset > replayed });
      },
    };
  }
}

function nameLog(topic: string): string {
  return `topic:${topic}`;
}
