/** Tabs that share one connection, and their messages. A message may be lost; the positions show that. */

import type { ChannelLike, Environment } from "../environment";
import type { Position, ServerFrame } from "../frames";
import { Election } from "./election";

export type Places = Record<string, Position | null>;

/** Message of a tab to the others. */
type Message =
  /** Frame for all followers of its log. */
  | { type: "news"; frame: ServerFrame; length: number }
  /** Sign of life of the leader. `places`: its position in each log that its connection carries. */
  | { type: "beat"; places: Places; isHidden: boolean; isAttached: boolean }
  /** Question whether the leader lives. */
  | { type: "ask" }
  /** Logs that a follower wants. */
  | { type: "want"; from: string; logs: Places }
  | { type: "leave"; from: string };

/** Role of a tab: leader or follower. */
export interface Actor {
  takeNews?(frame: ServerFrame, length: number): void;
  takeBeat?(places: Places, isAttached: boolean): void;
  /** Note that the other tabs want other logs. */
  noteWants?(): void;
  /** Return the positions of the logs that it carries; null while it has no connection. */
  listPlaces?(): Places | null;
}

const BEAT_EVERY = 5_000;
/** Milliseconds without a beat after which a follower asks the leader. */
const SILENCE = 12_000;
const ANSWER_WITHIN = 3_000;
/**
 * Milliseconds after which a follower repeats which logs it wants, and after which the leader forgets it without that.
 */
const WANT_EVERY = 30_000;
const WANT_LASTS = 150_000;

export class Circle {
  actor: Actor = {};
  /** Called when this tab becomes leader, or stops being leader. */
  tellRole = (): void => undefined;
  readonly #env: Environment;
  readonly #channel: ChannelLike;
  readonly #election: Election;
  readonly #me: string;
  /** Timer of the next beat of a leader, or of the next doubt of a follower. */
  #timer: unknown = null;
  #answer: unknown = null;
  readonly #wants = new Map<string, { logs: Places; at: number }>();
  #wantedAt = -Infinity;
  #wantedLogs = "";
  #isClosed = false;

  constructor(env: Environment, name: string) {
    this.#env = env;
    this.#me = `${env.random()}`;
    const Channel = env.Channel as NonNullable<Environment["Channel"]>;
    this.#channel = new Channel(name);
    this.#channel.onmessage = ({ data }) => this.#take(data as Message);
    this.#election = new Election(env, name, () => this.#noteRole());
    this.#planDoubt();
    void this.settled.then(() => this.ask());
  }

  get leads(): boolean {
    return this.#election.leads;
  }

  /** Settled when it is known whether a tab leads. */
  get settled(): Promise<void> {
    return this.#election.settled;
  }

  get isHidden(): boolean {
    return this.#env.page?.document.visibilityState === "hidden";
  }

  /** Pass a frame on to the followers. */
  tellNews(frame: ServerFrame, length: number): void {
    if (this.leads) this.#post({ type: "news", frame, length });
  }

  /** Tell the followers the positions of the leader. */
  beat(): void {
    if (!this.leads) return;
    this.#env.clock.clearTimeout(this.#timer);
    this.#timer = this.#env.clock.setTimeout(() => this.beat(), BEAT_EVERY);
    const places = this.actor.listPlaces?.() ?? null;
    this.#post({ type: "beat", places: places ?? {}, isHidden: this.isHidden, isAttached: places !== null });
  }

  /** Ask whether the leader lives, and take the lead if it does not answer. */
  ask(): void {
    if (this.leads || this.#answer !== null || this.#isClosed) return;
    // Of several tabs that ask, one is the first to take the lead, and the others learn of it.
    const patience = ANSWER_WITHIN * (1 + this.#env.random() / 2);
    this.#answer = this.#env.clock.setTimeout(() => this.#election.seize(), patience);
    this.#post({ type: "ask" });
  }

  /** Tell the leader which logs to carry, unless it should know. */
  want(logs: Places, isUnknown: boolean): void {
    const now = this.#env.clock.now();
    const names = JSON.stringify(Object.keys(logs));
    if (!isUnknown && names === this.#wantedLogs && now - this.#wantedAt < WANT_EVERY) return;
    this.#wantedAt = now;
    this.#wantedLogs = names;
    this.#post({ type: "want", from: this.#me, logs });
  }

  /** Return the logs that followers want, each with the position of one of them. */
  listWanted(): Places {
    const oldest = this.#env.clock.now() - WANT_LASTS;
    for (const [from, { at }] of this.#wants) if (at < oldest) this.#wants.delete(from);
    return Object.assign({}, ...[...this.#wants.values()].map(({ logs }) => logs)) as Places;
  }

  close(): void {
    this.#post({ type: "leave", from: this.#me });
    this.#isClosed = true;
    this.#election.close();
    this.#stopTimers();
    this.#channel.close();
  }

  #post(message: Message): void {
    if (!this.#isClosed) this.#channel.postMessage(message);
  }

  #take(message: Message): void {
    if (this.#isClosed) return;
    if (this.leads) this.#takeAsLeader(message);
    else this.#takeAsFollower(message);
  }

  #takeAsLeader(message: Message): void {
    if (message.type === "ask") this.beat();
    if (message.type === "want") this.#wants.set(message.from, { logs: message.logs, at: this.#env.clock.now() });
    if (message.type === "leave") this.#wants.delete(message.from);
    if (message.type === "want" || message.type === "leave") this.actor.noteWants?.();
  }

  #takeAsFollower(message: Message): void {
    if (message.type !== "news" && message.type !== "beat") return;
    this.#planDoubt();
    if (message.type === "news") return this.actor.takeNews?.(message.frame, message.length);
    // Browsers slow down the timers of a hidden page, and may freeze it.
    if (message.isHidden && !this.isHidden) this.#election.seize();
    else this.actor.takeBeat?.(message.places, message.isAttached);
  }

  #noteRole(): void {
    this.#stopTimers();
    if (this.leads) this.beat();
    else this.#planDoubt();
    this.tellRole();
  }

  /** Wait for the next sign of the leader. */
  #planDoubt(): void {
    this.#stopTimers();
    this.#timer = this.#env.clock.setTimeout(() => this.ask(), SILENCE);
  }

  #stopTimers(): void {
    this.#env.clock.clearTimeout(this.#timer);
    this.#env.clock.clearTimeout(this.#answer);
    this.#answer = null;
  }
}
