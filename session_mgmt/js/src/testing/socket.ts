/** Both ends of a WebSocket in memory. Frames arrive in order, each in its own turn of the event loop. */

import type { SocketLike } from "../environment";
import type { FakeWire } from "./wire";

export interface FakePeer {
  /** Return false to leave the socket unopened; `begin` can open it later. */
  handleOpen(socket: FakeSocket): boolean;
  handleText(socket: FakeSocket, text: string): void;
  handleClose(socket: FakeSocket): void;
}

export class FakeSocket implements SocketLike, FakeWire {
  onopen: SocketLike["onopen"] = null;
  onmessage: SocketLike["onmessage"] = null;
  onclose: SocketLike["onclose"] = null;
  onerror: SocketLike["onerror"] = null;
  /** True if nothing passes and no side is told. */
  cut = false;
  open = false;
  closedWith: number | null = null;
  readonly #peer: FakePeer;

  constructor(
    readonly url: string,
    readonly protocols: string[],
    peer: FakePeer,
  ) {
    this.#peer = peer;
    queueMicrotask(() => {
      if (this.closedWith === null && peer.handleOpen(this)) this.begin();
    });
  }

  /** Open the socket to a peer that receives nothing. */
  beginDeaf(): void {
    this.open = true;
    this.onopen?.({} as never);
  }

  /** Open the socket. */
  begin(): void {
    if (this.closedWith !== null || this.cut) return;
    this.open = true;
    this.onopen?.({} as never);
  }

  send(text: string): void {
    queueMicrotask(() => {
      if (this.open && !this.cut) this.#peer.handleText(this, text);
    });
  }

  close(code = 1000): void {
    if (this.closedWith !== null) return;
    this.closedWith = code;
    this.open = false;
    if (!this.cut) this.#peer.handleClose(this);
  }

  /** Deliver a frame from the server. */
  deliver(frame: object): void {
    const text = JSON.stringify(frame);
    queueMicrotask(() => {
      if (this.open && !this.cut) this.onmessage?.({ data: text });
    });
  }

  /** End the socket, as the server or the network does. */
  drop(code = 1006): void {
    queueMicrotask(() => {
      if (this.cut || this.closedWith !== null) return;
      this.closedWith = code;
      this.open = false;
      this.#peer.handleClose(this);
      this.onclose?.({ code, reason: "" });
    });
  }
}
