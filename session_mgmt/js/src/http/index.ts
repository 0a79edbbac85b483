/** Connections over HTTP: alone, or where no WebSocket can connect. */

import type { SocketRecord } from "../socketRecord";
import { nameAddress, openSocket, Socket, type Loaded } from "../socket";
import type { Link, LinkPort, TransportHost, TransportName } from "../transport";
import { Habits } from "./habits";
import { HybridLink } from "./hybrid";
import { HttpLink, type LinkHabits, type Role } from "./link";
import { Way } from "./way";

/** Return the transport of a page. `record`: success of its sockets so far. */
export function makeHttp(host: TransportHost, allowed: readonly TransportName[], record: SocketRecord): Loaded {
  const way = new Way(host, record);
  const habits = new Habits(host, way.memory, allowed);
  const openHttp = (port: LinkPort, role: Role = "connection"): Link => new HttpLink(host, port, habits, role);
  const openWriter = (port: LinkPort): Link => openHttp(port, "writer");
  if (!allowed.includes("websocket")) {
    return { openWriter, open: (port) => openHttp(port), adopt: (port) => openHttp(port) };
  }
  const adopt = (port: LinkPort, socket: Socket | null, begunAt: number, hasLost = socket === null): Link =>
    new HybridLink({ host, port, habits, way }, socket, begunAt, hasLost);
  return {
    adopt: (port, socket, begunAt) => adopt(port, socket, begunAt),
    open: (port) => adopt(port, way.isOpenToSockets ? newSocket(host) : null, host.env.clock.now(), false),
    openWriter: (port) => (way.isOpenToSockets ? openSocket(host, port) : openWriter(port)),
  };
}

/** Return an attachment that is not a connection: it polls at the given pace, or only writes. */
export function openQuiet(host: TransportHost, port: LinkPort, choosePace?: LinkHabits["choosePace"]): HttpLink {
  const habits = { prefersStream: false, noteBuffered: () => undefined, choosePace: choosePace as LinkHabits["choosePace"] };
  return new HttpLink(host, port, habits, choosePace ? "follower" : "writer");
}

/** Return a socket whose port is set later. */
function newSocket(host: TransportHost): Socket {
  const nobody = (): void => undefined;
  return new Socket(host.env, nameAddress(host), { handleOpen: nobody, handleFrame: nobody, handleEnd: nobody });
}
