/** Connections over HTTP, alone, or where no WebSocket gets through. */

import type { Loaded, SocketRecord } from "../choosing";
import { nameAddress, openSocket, Socket } from "../socket";
import type { Link, LinkPort, TransportHost, TransportName } from "../transport";
import { Habits } from "./habits";
import { HybridLink } from "./hybrid";
import { HttpLink } from "./link";
import { Way } from "./way";

/** Return the transport of a page; `record`: what its sockets have shown. */
export function makeHttp(host: TransportHost, allowed: readonly TransportName[], record: SocketRecord): Loaded {
  const way = new Way(host, record);
  const habits = new Habits(host.env, way.memory, allowed);
  const openHttp = (port: LinkPort, isWriter = false): Link => new HttpLink(host, port, habits, isWriter);
  if (!allowed.includes("websocket")) {
    return { open: (port) => openHttp(port), openWriter: (port) => openHttp(port, true), adopt: (port) => openHttp(port) };
  }
  const adopt = (port: LinkPort, socket: Socket | null, begunAt: number, hasLost = socket === null): Link =>
    new HybridLink({ host, port, habits, way }, socket, begunAt, hasLost);
  return {
    adopt: (port, socket, begunAt) => adopt(port, socket, begunAt),
    open: (port) => adopt(port, way.isOpenToSockets ? newSocket(host) : null, host.env.clock.now(), false),
    openWriter: (port) => (way.isOpenToSockets ? openSocket(host, port) : openHttp(port, true)),
  };
}

/** Return a socket whose port comes later. */
function newSocket(host: TransportHost): Socket {
  const nobody = (): void => undefined;
  return new Socket(host.env, nameAddress(host), { handleOpen: nobody, handleFrame: nobody, handleEnd: nobody });
}
