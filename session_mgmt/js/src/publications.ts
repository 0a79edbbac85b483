/** Publications of a topic: their places, and the options of calls about them (PROTOCOL section 7). */

import type { Unsubscribe } from "./emitter";
import type { SessionError } from "./errors";
import type { Gap, Status } from "./events";
import type { Position, PublishFrame } from "./frames";
import type { Json } from "./values";

/**
 * Place of a publication in its topic; an ephemeral one has no position. `live` is false for publications from before
 * the server followed the topic on this connection.
 */
export type PublicationPlace = { live: boolean } & (
  | { epoch: string; offset: number; tag: string; ephemeral: false }
  | { epoch: null; offset: null; tag: null; ephemeral: true }
);

export type TopicListener<Data = Json> = (data: Data, place: PublicationPlace) => void;

export interface PublishOptions {
  /** Idempotency key: publications of one topic with the same key count as one publication. */
  key?: string;
  /**
   * Deliver only to clients that are connected now. The publication is not kept or repeated, and is dropped without a
   * connection.
   */
  ephemeral?: boolean;
  signal?: AbortSignal;
}

export type FilterValue = string | number | boolean | null;

/** Required value of each named member of a publication; with `in` one of several values. */
export type TopicFilter<Data = Json> = {
  [Key in keyof Data & string]?: Extract<Data[Key], FilterValue> | { in: Extract<Data[Key], FilterValue>[] };
};

export interface SubscribeOptions<Data = Json> {
  /**
   * How to continue if this tab reads too slowly, one of the ways that the topic allows; by default its first one. If a
   * topic has several subscribers, the first one decides.
   */
  slow?: "replay" | "latest" | "drop_oldest" | "disconnect";
  /**
   * Where to begin. `position`, usually rendered into the page, is preferred to the place where this tab left the
   * topic. The other two count only if the tab has no such place: `time` begins with the first publication that is not
   * older, `last` with that many publications before the newest (at most 1,000). If a topic has several subscribers,
   * the first one decides.
   */
  since?: { position: Position } | { time: string | Date } | { last: number };
  /**
   * Deliver only publications with these members, which the topic must declare as filters: `{ region: "eu" }`, or
   * `{ region: { in: ["eu", "us"] } }`. If a topic has several subscribers, the first one decides.
   */
  filter?: TopicFilter<Data>;
  /**
   * Receive the value that the publications change, before all publications and again after a gap; for topics that have
   * a value. A refusal rejects `subscribed`.
   */
  snapshot?: (value: Json) => void;
}

export interface PastOptions {
  /** Only publications before this position. For the next page give the `position` of the first entry. */
  before?: Position | null;
  /** Number of publications: at most 200, by default 50. */
  limit?: number;
}

/** Page of past publications of a topic, the newest one last. */
export interface PastPage {
  /** Publications of the page; `at` is ISO 8601. */
  entries: { data: Json; position: Position; at: string }[];
  /** True if older publications are kept. */
  more: boolean;
}

/** Reply to `history`. */
export interface PastReply {
  epoch: string;
  entries: [offset: number, tag: string, data: Json, at: string][];
  more: boolean;
}

export interface TopicsPort {
  /** Ask over the connection. Resolves with null without a connection or a reply. Rejects if the server refuses. */
  askSocket<Answer>(frame: object): Promise<Answer | null>;
  /** Aborted with the error when the client is closed. */
  readonly closed: AbortSignal;
  readonly events: { on(type: "status", callback: (status: Status) => void): Unsubscribe };
  publishEntry(frame: Omit<PublishFrame, "type">, signal: AbortSignal | undefined): Promise<Position | null>;
  publishEphemeral(topic: string, data: Json): Promise<null>;
  tellDenied(topic: string, error: SessionError): void;
}

/** Subscription; call it to end it. */
export type Subscription = Unsubscribe & {
  /**
   * Settled when the server follows the topic; from then on nothing is missed. Resolves with false if publications
   * since `since.time` are no longer kept. Rejects if the server refuses, with `unsubscribed`, and with `closed`. A
   * temporary refusal (`busy`) is reported as an `error`, and the client asks again.
   */
  readonly subscribed: Promise<boolean>;
};

/** Topics of a client, as a reader of one of them uses them. */
export interface TopicSource {
  subscribe(topic: string, listener: TopicListener, options?: SubscribeOptions): Subscription;
  onGap(listener: (gap: Gap) => void): Unsubscribe;
}
