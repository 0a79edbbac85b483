/** Topics: publications arrive once and in order, missed ones first (PROTOCOL section 7). */

import { requireFunction, requireText, requireThat } from "./arguments";
import type { KnownTopic, PublicationOf } from "./application";
import { Emitter, type Unsubscribe } from "./emitter";
import { SessionError, silenceRejection } from "./errors";
import type { Gap } from "./events";
import type { Position } from "./frames";
import { lendMethods, loadRequests } from "./loading";
import type { Logbook, Reader } from "./logbook";
import type { PublicationPlace, PublishOptions, SubscribeOptions, Subscription, TopicListener } from "./publications";
import type { TopicsPort } from "./publications";
import type { ClientRecord } from "./record";
import type { TopicRequests } from "./requests/index";
import type { Stats } from "./stats";
import { isObject, normalizeValue, type Json } from "./values";

interface Waiting {
  resolve(isComplete: boolean): void;
  reject(error: SessionError): void;
}

/** Topic that the client follows, with its subscribers. */
class Followed {
  count = 0;
  /**
   * Answer of the server: whether everything that `since` asks for is still kept, or the refusal; null before the
   * answer.
   */
  #answer: boolean | SessionError | null = null;
  #waiting = new Set<Waiting>();

  /** Settle the waiting subscribers and the later ones. */
  settle(answer: boolean | SessionError): void {
    this.#answer = answer;
    for (const waiting of this.#waiting) settleWaiting(waiting, answer);
    this.#waiting.clear();
  }

  /** Forget a refusal, because the client asks the server again. */
  askAgain(): void {
    this.#answer = null;
  }

  /** Return a promise of the answer, and a function that ends the waiting. */
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

  /**
   * Follow a topic. It begins at the position of `since`, else where this tab left the topic, else as `since` says,
   * else with the next publication. A refusal is also reported as an `error` with `facts.topic`.
   */
  subscribe<const Topic extends string>(
    topic: Topic & KnownTopic<T, Topic>,
    listener: TopicListener<PublicationOf<T, Topic>>,
    options: SubscribeOptions<PublicationOf<T, NoInfer<Topic>>> = {},
  ): Subscription {
    requireText(topic, "a topic");
    requireFunction(listener, "the callback of a topic");
    const { snapshot } = options;
    // The wishes go into the first frame of each connection, so later changes of the given object must not reach them.
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
      // The connection may bring all publications of the topic, for other tabs or other subscribers.
      if (wanted.every(([key, value]) => (value?.in ?? [value]).includes((data as Json)?.[key]))) listener(data, place);
    });
    const log = nameLog(topic);
    const followed = this.#followed.get(topic) ?? new Followed();
    this.#followed.set(topic, followed);
    if (this.#port.closed.aborted) followed.settle(this.#port.closed.reason);
    const isDenied = this.#logbook.isDenied(log);
    if (isDenied) followed.askAgain();
    // After a denial the client asks again, because the rights may have changed.
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

  /** Publish. Resolves with the position when the server has stored it; with null at once if it is ephemeral. */
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

  /**
   * Return the position after which the next publication comes; null if the topic is not followed, or has no position
   * yet.
   */
  position(topic: string): Position | null {
    return this.#logbook.position(nameLog(topic));
  }

  onGap(listener: (gap: Gap) => void): Unsubscribe {
    return this.#gaps.on("gap", listener);
  }

  /** Deliver the data of an `ephemeral` frame. */
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
    // Publications up to this offset were published before the server followed the topic.
    let replayed = 0;
    return {
      start: wishes.since && "position" in wishes.since ? wishes.since.position : this.#record.readPosition(log),
      wishes,
      moveTo: (position) => {
        this.#record.setPosition(log, position);
        // The topic is removed at the end of the turn. Someone who subscribes again before that keeps the present
        // answer.
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
