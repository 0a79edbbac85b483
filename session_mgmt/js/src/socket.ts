/** WebSocket that opens, speaks frames, and ends once. Nothing of an ended one is passed on. */

import type { Environment, SocketLike } from "./environment";
import { decodeFrame, SUBPROTOCOL, type ByeFrame, type ServerFrame } from "./frames";

/** End of a connection; `retryAfter` in seconds if the server said it. */
export interface Ending {
  code: number;
  name: string | null;
  retryAfter: number | null;
  reconnect: boolean | null;
  /** Why, in one word, if the server said it. */
  reason: string | null;
}

export interface SocketPort {
  handleOpen(): void;
  handleFrame(frame: ServerFrame, length: number): void;
  handleEnd(ending: Ending): void;
}

export class Socket {
  readonly #port: SocketPort;
  #socket: SocketLike | null = null;
  #open = false;
  #bye: ByeFrame | null = null;

  constructor(env: Environment, url: string, port: SocketPort) {
    this.#port = port;
    const socket = new env.Socket(url, [SUBPROTOCOL]);
    this.#socket = socket;
    socket.onopen = () => {
      this.#open = true;
      port.handleOpen();
    };
    socket.onmessage = ({ data }) => this.#handleMessage(data);
    socket.onclose = ({ code }) => this.endWith(code);
    // `close` follows and says more.
    socket.onerror = () => undefined;
  }

  /** Return false if the socket is not open; then nothing was sent. */
  sendText(text: string): boolean {
    if (!this.#open || !this.#socket) return false;
    this.#socket.send(text);
    return true;
  }

  /** End it from this side at once: a dead network would let the closing handshake wait for minutes. */
  endWith(code: number, name: string | null = null): void {
    const socket = this.#socket;
    if (!socket) return;
    this.dropSocket(code);
    const bye = this.#bye;
    this.#port.handleEnd({
      code: bye?.code ?? code,
      name: bye?.name ?? name,
      retryAfter: bye?.retry_after ?? null,
      reconnect: bye?.reconnect ?? null,
      reason: bye?.reason ?? null,
    });
  }

  /** End it without telling anybody. */
  dropSocket(code = 1000): void {
    const socket = this.#socket;
    this.#socket = null;
    if (!socket) return;
    socket.onopen = socket.onmessage = socket.onclose = null;
    try {
      socket.close(code >= 4000 || code === 1000 ? code : 1000);
    } catch {
      // It was closed before.
    }
  }

  #handleMessage(data: unknown): void {
    const frame = decodeFrame(data);
    if (!frame) return;
    if (frame.type === "bye") {
      this.#bye = frame;
      this.endWith(frame.code);
    } else this.#port.handleFrame(frame, (data as string).length);
  }
}
