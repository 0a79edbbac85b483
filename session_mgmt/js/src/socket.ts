/** WebSocket that opens, carries frames, and ends once. After its end it passes nothing on. */

import { CLOSE } from "./codes";
import type { Environment, SocketClass, SocketLike } from "./environment";
import { decodeFrame, SUBPROTOCOL } from "./frames";
import { makeEnding, readBye, type Ending, type Link, type LinkPort, type Transport } from "./transport";
import { type TransportHost } from "./transport";

/** Transport over HTTP, when it is loaded. */
export interface Loaded extends Transport {
  /** Continue an attachment that began with a socket; `socket` is null if that has failed. */
  adopt(port: LinkPort, socket: Socket | null, begunAt: number): Link;
}

export interface SocketPort extends Pick<LinkPort, "handleFrame" | "handleEnd"> {
  handleOpen(): void;
}

/** Return a socket that sends the first frame of the connection when it opens. */
export function openSocket(host: TransportHost, port: LinkPort): Socket {
  const socket = new Socket(host.env, nameAddress(host), {
    handleOpen: () => void socket.sendFrame(port.buildConnect()),
    handleFrame: (frame, length) => {
      if (frame.type === "connected") port.tellTransport("websocket");
      port.handleFrame(frame, length);
    },
    handleEnd: (ending) => port.handleEnd(ending),
  });
  return socket;
}

/** Return the absolute address of the socket. */
export function nameAddress({ rest, readEndpoints }: TransportHost): string {
  const url = new URL(readEndpoints().websocket, rest.base);
  url.protocol = url.protocol.replace("http", "ws");
  return url.href;
}

/** Return the transport that uses only WebSockets. */
export function makeSockets(host: TransportHost): Transport {
  const open = (port: LinkPort): Link => openSocket(host, port);
  return { open, openWriter: open };
}

export class Socket implements Link {
  /** Receiver of the events of this socket; it may change. */
  port: SocketPort;
  #socket: SocketLike | null = null;
  isOpen = false;

  constructor(env: Environment, url: string, port: SocketPort) {
    this.port = port;
    const socket = new (env.Socket as SocketClass)(url, [SUBPROTOCOL]);
    this.#socket = socket;
    socket.onopen = () => {
      this.isOpen = true;
      this.port.handleOpen();
    };
    socket.onmessage = ({ data }) => this.#handleMessage(data);
    socket.onclose = ({ code }) => this.endWith(code);
    // `close` follows, and tells more.
    socket.onerror = () => undefined;
  }

  sendFrame(frame: object): number {
    if (!this.isOpen) return 0;
    const text = JSON.stringify(frame);
    this.#socket?.send(text);
    return text.length;
  }

  /** End the socket from this side at once: on a dead network the closing handshake would take minutes. */
  endWith(code: number, name: string | null = null): void {
    this.#end(makeEnding(code, name));
  }

  drop(code = 1000): void {
    const socket = this.#socket;
    this.#socket = null;
    this.isOpen = false;
    if (!socket) return;
    socket.onopen = socket.onmessage = socket.onclose = null;
    try {
      socket.close(code >= 4000 || code === 1000 ? code : 1000);
    } catch {
      // It was closed already.
    }
  }

  #handleMessage(data: unknown): void {
    const frame = decodeFrame(data);
    if (!frame) return this.endWith(CLOSE.OUT_OF_ORDER, "unreadable_frame");
    if (frame.type === "bye") this.#end(readBye(frame));
    else this.port.handleFrame(frame, (data as string).length);
  }

  #end(ending: Ending): void {
    if (!this.#socket) return;
    this.drop(ending.code);
    this.port.handleEnd(ending);
  }
}
