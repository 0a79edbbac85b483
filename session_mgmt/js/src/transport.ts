/** What carries the frames of one attachment: a WebSocket, or HTTP. The connection knows no other difference. */

import type { ServerFrame } from "./frames";

/** End of a link; `retryAfter` in seconds if the server said it. */
export interface Ending {
  code: number;
  name: string | null;
  retryAfter: number | null;
  reconnect: boolean | null;
  /** Why, in one word, if the server said it. */
  reason: string | null;
}

/** What a link asks of the connection that it carries, and tells it. */
export interface LinkPort {
  /** Return the first frame; called as late as possible, so that it contains what the page subscribed to meanwhile. */
  buildConnect(): object;
  handleFrame(frame: ServerFrame, length: number): void;
  /** Take the end; called once, and nothing comes after it. */
  handleEnd(ending: Ending): void;
}

/** Attachment that is being opened, lives, or has ended. */
export interface Link {
  /** Send a frame; return the length of its text, or 0 if nothing can be sent here now. */
  sendFrame(frame: object): number;
  /** End it from this side at once; the port is told. */
  endWith(code: number, name?: string | null): void;
  /** End it without telling anybody. */
  drop(code?: number): void;
}

export interface Transport {
  /** Begin an attachment. Throws for an address that cannot be. */
  open(port: LinkPort): Link;
}
