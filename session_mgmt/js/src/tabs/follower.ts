/**
 * Attachment of a follower. It writes and asks over HTTP by itself, and takes entries from the leader. Entries that the
 * leader has not passed on are polled, from the follower's own positions.
 */

import type { HttpLink, LinkHabits } from "../http/link";
import type { Pace } from "../http/poller";
import type { EntriesFrame, Position, ServerFrame } from "../frames";
import type { LinkPort } from "../transport";
import type { Actor, Circle, Places } from "./circle";

/** Open an attachment over HTTP that is not a connection. */
export type OpenFollower = (port: LinkPort, choosePace: LinkHabits["choosePace"]) => HttpLink;

export class Follower implements Actor {
  readonly #port: LinkPort;
  readonly #circle: Circle;
  readonly link: HttpLink;
  /** True if the next poll is due, because something is missing or may be. */
  #isDue = true;
  #wake = (): void => undefined;

  constructor(open: OpenFollower, port: LinkPort, circle: Circle) {
    this.#port = port;
    this.#circle = circle;
    this.link = open(port, (signal, isAnew) => this.#awaitNeed(signal, isAnew));
  }

  get isAttached(): boolean {
    return this.link.isAttached;
  }

  sendFrame(frame: object): number {
    return this.link.sendFrame(frame as never);
  }

  readonly checkLife = (): void => {
    this.#circle.ask();
    this.link.checkLife();
  };

  takeNews(frame: ServerFrame, length: number): void {
    if (!this.isAttached) return;
    if (frame.type === "ephemeral") {
      if (this.#port.findPlace(`topic:${frame.topic}`) !== undefined) this.#port.handleFrame(frame, length);
    } else if (frame.type === "entries") this.#takeEntries(frame, length);
  }

  takeBeat(places: Places, isAttached: boolean): void {
    if (!this.isAttached) return;
    const mine = this.link.listPlaces();
    const isUnknown = isAttached && Object.keys(mine).some((log) => !(log in places));
    this.#circle.want(mine, isUnknown);
    const isBehind = Object.entries(mine).some(([log, place]) => isOther(place, places[log]));
    if (!isAttached || isUnknown || isBehind) this.#poll();
  }

  #takeEntries(frame: EntriesFrame, length: number): void {
    const place = this.#port.findPlace(frame.log);
    const [first, last] = [frame.entries[0], frame.entries.at(-1)];
    // Without a position, the next poll brings the entries.
    if (!place || !first || !last) return;
    const isNext = frame.epoch === place[0] && first[0] <= place[1] + 1;
    if (!isNext) this.#poll();
    else if (last[0] > place[1]) this.#port.handleFrame(frame, length);
  }

  #poll(): void {
    this.#isDue = true;
    this.#wake();
  }

  async #awaitNeed(signal: AbortSignal, isAnew: boolean): Promise<Pace> {
    this.#isDue ||= isAnew;
    this.#circle.want(this.link.listPlaces(), false);
    await new Promise<void>((resolve, reject) => {
      this.#wake = resolve;
      if (this.#isDue) resolve();
      signal.addEventListener("abort", () => reject(signal.reason));
    });
    this.#isDue = false;
    return { isHeld: false, wait: 0 };
  }
}

/** Return true if the leader is ahead of this tab, or in another epoch. */
function isOther(place: Position | null, leading: Position | null | undefined): boolean {
  if (!place || !leading) return false;
  return place[0] !== leading[0] || place[1] < leading[1];
}
