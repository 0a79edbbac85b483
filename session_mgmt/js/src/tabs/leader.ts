/** Attachment of the leader. It carries the logs of all tabs, and passes on what the server sends for them. */

import type { ConnectedFrame, Position, ServerFrame } from "../frames";
import type { Link, LinkPort, Transport } from "../transport";
import type { Actor, Circle, Places } from "./circle";

/** First id of questions about logs of other tabs, far above the ids of this tab's client. */
const FIRST_ID = 2 ** 40;

export class Leader implements Actor {
  isAttached = false;
  readonly #port: LinkPort;
  readonly #circle: Circle;
  readonly link: Link;
  /** Position of this connection in each log that it carries. */
  #places = new Map<string, Position | null>();
  /** Logs that this tab's client has asked for, by the id of the question. */
  #questions = new Map<number, string>();
  /** Logs that the server has refused on this connection. */
  #refused = new Set<string>();
  #id = FIRST_ID;

  constructor(own: Transport, port: LinkPort, circle: Circle) {
    this.#port = port;
    this.#circle = circle;
    this.link = own.open({
      ...port,
      buildConnect: () => this.#buildConnect(),
      findPlace: (log) => this.#findPlace(log),
      handleFrame: (frame, length) => this.#takeFrame(frame, length),
      handleEnd: (ending) => {
        this.#letGo();
        port.handleEnd(ending);
      },
      beginSwitch: () => {
        this.#letGo();
        port.beginSwitch();
      },
    });
  }

  get checkLife(): (() => void) | undefined {
    const { link } = this;
    return link.checkLife && (() => link.checkLife?.());
  }

  sendFrame(frame: { type: string; id?: number; log?: string; since?: object }): number {
    const { type, id, log, since } = frame;
    // The log is followed for another tab, from another position; that tab ignores entries that it has.
    if (type === "subscribe" && since && log !== undefined && this.#places.has(log)) this.#ask({ type: "unsubscribe", log });
    // Another tab follows the log.
    if (type === "unsubscribe" && log !== undefined && log in this.#circle.listWanted()) return 1;
    // Ask for the whole log without a filter; each tab takes the part that it wants.
    const length = this.link.sendFrame({ ...frame, filter: undefined });
    if (length > 0 && log !== undefined) this.#noteQuestion(type, id, log);
    return length;
  }

  listPlaces(): Places | null {
    return this.isAttached ? Object.fromEntries(this.#places) : null;
  }

  /** Carry the logs that other tabs want, and stop logs that no tab wants any more. */
  noteWants(): void {
    if (!this.isAttached) return;
    const wanted = this.#circle.listWanted();
    for (const [log, position] of Object.entries(wanted)) {
      if (!this.#places.has(log) && !this.#refused.has(log)) this.#ask({ type: "subscribe", log, position }, log);
    }
    for (const log of this.#places.keys()) {
      if (log in wanted || this.#port.findPlace(log) !== undefined) continue;
      this.#places.delete(log);
      this.#ask({ type: "unsubscribe", log });
    }
  }

  #ask(frame: { type: string; log: string; position?: Position | null }, followed?: string): void {
    const id = (this.#id += 1);
    if (this.link.sendFrame({ ...frame, id }) > 0 && followed !== undefined) {
      this.#questions.set(id, followed);
      // Ask once; the answer brings the position.
      this.#places.set(followed, frame.position ?? null);
    }
  }

  #buildConnect(): object {
    const connect = this.#port.buildConnect() as { logs: Places };
    const logs = { ...this.#circle.listWanted(), ...connect.logs };
    this.#places = new Map(Object.entries(logs));
    return { ...connect, logs, filter: {} };
  }

  #findPlace(log: string): Position | null | undefined {
    const place = this.#port.findPlace(log);
    return place === undefined ? this.#places.get(log) : place;
  }

  #takeFrame(frame: ServerFrame, length: number): void {
    this.#note(frame);
    const isOurs = "id" in frame && frame.id !== undefined && frame.id > FIRST_ID;
    if (frame.type === "entries" || frame.type === "ephemeral") this.#circle.tellNews(frame, length);
    if (!isOurs) this.#port.handleFrame(frame, length);
    // The log may have another position now, or have ended; each follower decides what that means for it.
    if (frame.type === "connected" || frame.type === "snapshot" || frame.type === "gap") this.#circle.beat();
    if (frame.type === "connected") this.noteWants();
  }

  #note(frame: ServerFrame): void {
    if (frame.type === "connected") this.#takeConnected(frame);
    else if (frame.type === "entries") this.#noteEntries(frame.log, frame.epoch, frame.entries.at(-1));
    else if ((frame.type === "snapshot" || frame.type === "gap") && frame.position) this.#places.set(frame.log, frame.position);
    else if (frame.type === "reply" || frame.type === "error") this.#noteAnswer(frame);
  }

  #takeConnected({ logs }: ConnectedFrame): void {
    this.isAttached = true;
    for (const [log, { mode, position }] of Object.entries(logs)) {
      if (mode === "denied") this.#refuse(log);
      else if (position) this.#places.set(log, position);
    }
  }

  #noteEntries(log: string, epoch: string, last: [offset: number, tag: string, body: unknown] | undefined): void {
    if (last && this.#places.has(log)) this.#places.set(log, [epoch, last[0], last[1]]);
  }

  #noteQuestion(type: string, id: number | undefined, log: string): void {
    if (type === "unsubscribe") this.#places.delete(log);
    else if (type === "subscribe" && id !== undefined) this.#questions.set(id, log);
  }

  #noteAnswer(frame: ServerFrame & { type: "reply" | "error" }): void {
    const { id } = frame;
    const asked = id === undefined ? undefined : this.#questions.get(id);
    if (id !== undefined) this.#questions.delete(id);
    if (frame.type === "error") {
      const left = asked ?? (id === undefined ? frame.log : undefined);
      if (left !== undefined) this.#refuse(left);
    } else if (asked !== undefined && frame.verdict?.position) this.#places.set(asked, frame.verdict.position);
  }

  #refuse(log: string): void {
    this.#places.delete(log);
    this.#refused.add(log);
  }

  #letGo(): void {
    this.isAttached = false;
    this.#questions.clear();
    this.#refused.clear();
  }
}
