/**
 * One connection for all tabs of a session. One tab leads: its connection follows the logs of all tabs, and it passes
 * on what the server sends. Each other tab writes over HTTP, under its own client and numbers, so no tab writes for
 * another.
 */

import type { Environment } from "../environment";
import { AGENT } from "../frames";
import type { HttpLink, LinkHabits } from "../http/link";
import type { Link, LinkPort, Share, Transport, TransportHost } from "../transport";
import { Circle } from "./circle";
import type { OpenFollower } from "./follower";
import { SharedLink } from "./link";

/** Open an attachment over HTTP that is not a connection; without `choosePace` it only writes. */
export type OpenQuiet = (host: TransportHost, port: LinkPort, choosePace?: LinkHabits["choosePace"]) => HttpLink;

class Sharing implements Transport {
  readonly #host: TransportHost;
  readonly #own: Transport;
  readonly #openQuiet: OpenQuiet;
  /** Circle of this tab; it outlives the attachments. */
  #circle: Circle | null = null;
  #name = "";

  constructor(host: TransportHost, own: Transport, openQuiet: OpenQuiet) {
    this.#host = host;
    this.#own = own;
    this.#openQuiet = openQuiet;
  }

  open(port: LinkPort): Link {
    const openFollower: OpenFollower = (inner, choosePace) => this.#openQuiet(this.#host, inner, choosePace);
    const parts = { circle: this.#join(), own: this.#own, openFollower };
    return new SharedLink(parts, port);
  }

  openWriter(port: LinkPort): Link {
    return this.#openQuiet(this.#host, port);
  }

  rest(): void {
    this.#circle?.close();
    this.#circle = null;
  }

  /** Return the circle of the present session. */
  #join(): Circle {
    const { env, rest, nameOwner } = this.#host;
    const name = `${rest.base}:${nameOwner()}:${AGENT}:leader`;
    if (this.#circle && name === this.#name) return this.#circle;
    this.rest();
    this.#name = name;
    return (this.#circle = new Circle(env, name));
  }
}

/** Return the function that makes tabs share one connection. Throws if they cannot exchange messages. */
export function shareTransport({ locks, Channel }: Environment, openQuiet: OpenQuiet): Share {
  if (!locks || !Channel) throw new Error("there are no Web Locks or no BroadcastChannel.");
  return (host, own) => new Sharing(host, own, openQuiet);
}
