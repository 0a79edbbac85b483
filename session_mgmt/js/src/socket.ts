/** WebSocket that opens, speaks frames, and ends once. Nothing of an ended one is passed on. */

import type { Environment, SocketLike } from "./environment";
import { decodeFrame, SUBPROTOCOL, type ByeFrame } from "./frames";
import type { Link, LinkPort } from "./transport";

export interface SocketPort extends Omit<LinkPort, "buildConnect"> {
  handleOpen(): void;
}

/** Return a socket that opens with the first frame of the connection. */
export function openSocket(env: Environment, url: string, port: LinkPort): Socket {
  const handleOpen = (): void => void socket.sendFrame(port.buildConnect());
  const socket = new Socket(env, url, { ...port, handleOpen });
  return socket;
}

export class Socket implements Link {
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

  sendFrame(frame: object): number {
    if (!this.#open || !this.#socket) return 0;
    const text = JSON.stringify(frame);
    this.#socket.send(text);
    return text.length;
  }

  /** End it from this side at once: a dead network would let the closing handshake wait for minutes. */
  endWith(code: number, name: string | null = null): void {
    const socket = this.#socket;
    if (!socket) return;
    this.drop(code);
    const bye = this.#bye;
    this.#port.handleEnd({
      code: bye?.code ?? code,
      name: bye?.name ?? name,
      retryAfter: bye?.retry_after ?? null,
      reconnect: bye?.reconnect ?? null,
      reason: bye?.reason ?? null,
    });
  }

  drop(code = 1000): void {
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
