/** Attachment of a tab that leads or follows. It changes between the two without the application noticing. */

import { makeEnding, type Ending, type Link, type LinkPort, type Transport } from "../transport";
import type { Circle } from "./circle";
import { Follower, type OpenFollower } from "./follower";
import { Leader } from "./leader";

export interface SharedParts {
  circle: Circle;
  /** Transport of this tab itself. */
  own: Transport;
  openFollower: OpenFollower;
}

export class SharedLink implements Link {
  readonly #parts: SharedParts;
  readonly #port: LinkPort;
  readonly #tellEnd: LinkPort["handleEnd"];
  #role: Leader | Follower | null = null;
  #isChanging = false;
  #isOver = false;

  constructor(parts: SharedParts, port: LinkPort) {
    this.#parts = parts;
    this.#port = {
      ...port,
      handleFrame: (frame, length) => {
        port.handleFrame(frame, length);
        if (frame.type === "connected") void this.#followRole();
      },
      handleEnd: (ending) => this.#end(ending),
    };
    this.#tellEnd = port.handleEnd;
    parts.circle.tellRole = () => void this.#followRole();
    void parts.circle.settled.then(() => this.#open());
  }

  get checkLife(): (() => void) | undefined {
    return this.#role?.checkLife;
  }

  sendFrame(frame: object): number {
    return this.#role?.sendFrame(frame as never) ?? 0;
  }

  endWith(code: number, name: string | null = null): void {
    if (this.#role) this.#role.link.endWith(code, name);
    else this.#end(makeEnding(code, name));
  }

  drop(code?: number): void {
    const role = this.#role;
    this.#close();
    role?.link.drop(code);
  }

  #open(): void {
    if (this.#isOver) return;
    const { circle, own, openFollower } = this.#parts;
    try {
      circle.actor = this.#role = circle.leads
        ? new Leader(own, this.#port, circle)
        : new Follower(openFollower, this.#port, circle);
    } catch {
      this.#end(makeEnding(0, "invalid_address", { reconnect: false }));
    }
  }

  /** Change if this tab has another role now. An attach in progress is never given up for another one. */
  async #followRole(): Promise<void> {
    const before = this.#role;
    if (!before?.isAttached || this.#isChanging || this.#isRight(before)) return;
    const http = before instanceof Follower ? before.link : null;
    this.#isChanging = true;
    await http?.pause();
    this.#isChanging = false;
    if (before !== this.#role) return;
    // Meanwhile the role may have changed back.
    if (this.#isRight(before)) return http?.resume();
    this.#role = null;
    if (http) http.release();
    else before.link.drop();
    this.#port.beginSwitch();
    this.#open();
  }

  #isRight(role: Leader | Follower): boolean {
    return role instanceof Leader === this.#parts.circle.leads;
  }

  #end(ending: Ending): void {
    if (this.#isOver) return;
    this.#close();
    this.#tellEnd(ending);
  }

  #close(): void {
    this.#isOver = true;
    this.#role = null;
    const { circle } = this.#parts;
    circle.actor = {};
    circle.tellRole = () => undefined;
  }
}
