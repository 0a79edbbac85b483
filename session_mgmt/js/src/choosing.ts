/**
 * Choice of the transport: a WebSocket, or HTTP where no WebSocket can connect. The code for HTTP is loaded on demand.
 */

import { loadHttp } from "./parts";
import { makeSockets, openSocket, type Loaded } from "./socket";
import { SocketRecord, USEFUL_AFTER } from "./socketRecord";
import { Shelf } from "./storage";
import { isLost, makeEnding, nameMemory, type Ending, type Link, type LinkPort } from "./transport";
import type { Transport, TransportHost, TransportName } from "./transport";

const ALL: readonly TransportName[] = ["websocket", "sse", "longpoll"];
/** Milliseconds after which a start that is not connected loads the other transport. */
const LOAD_AFTER = 500;

/** Return the transport for the allowed kinds. */
export function chooseTransport(allowed: readonly TransportName[] = ALL, host: TransportHost): Transport {
  const usable = host.env.Socket ? allowed : allowed.filter((name) => name !== "websocket");
  const maySocket = usable.includes("websocket");
  if (`${usable}` === "websocket") return makeSockets(host);
  // Only the loaded code can read what the browser has stored about the way.
  let beginsWithSocket = maySocket && new Shelf(host.env.local, nameMemory(host)).get("") === null;
  let loading: Promise<Loaded> | null = null;
  let loaded: Loaded | null = null;
  const record = new SocketRecord();
  const load = (): Promise<Loaded> =>
    (loading ??= loadHttp().then(
      (part) => (loaded = part.makeHttp(host, usable, record)),
      (error) => {
        // The next attachment tries again; until then a socket is better than nothing.
        loading = null;
        beginsWithSocket = maySocket;
        throw error;
      },
    ));
  const noteUseless = (): void => {
    record.useless += 1;
    load().catch(() => undefined);
  };
  const begin = (port: LinkPort, hasSocket: boolean, go: (way: Loaded) => Link): Link =>
    loaded ? go(loaded) : beginLink(host, { load, noteUseless, record }, port, hasSocket, go);
  return {
    open: (port) => begin(port, beginsWithSocket, (way) => way.open(port)),
    openWriter: (port) => begin(port, beginsWithSocket, (way) => way.openWriter(port)),
  };
}

interface Loader {
  load(): Promise<Loaded>;
  /** Note that a socket opened, but was lost before it was of use. */
  noteUseless(): void;
  record: SocketRecord;
}

/** Begin an attachment before the HTTP transport is loaded. It is handed over unless its socket is fast enough. */
function beginLink(
  host: TransportHost,
  loader: Loader,
  port: LinkPort,
  hasSocket: boolean,
  go: (way: Loaded) => Link,
): Link {
  const { clock } = host.env;
  const begunAt = clock.now();
  let connectedAt = -Infinity;
  let isOver = false;
  /** True if one of the two transports has the attachment. */
  let isSettled = false;
  let timer: unknown = null;
  let inner: Link | null = null;
  const end = (ending: Ending): void => {
    if (isOver) return;
    link.drop();
    port.handleEnd(ending);
  };
  /**
   * Continue with the other transport, unless the socket is ready. If there is no other transport, end with `failure`.
   */
  const handOver = (next: (way: Loaded) => Link, failure: Ending | null): void =>
    void loader.load().then(
      (way) => {
        if (isOver || isSettled) return;
        isSettled = true;
        inner = next(way);
      },
      () => failure && end(failure),
    );
  const takeEnd = (ending: Ending): void => {
    inner = null;
    clock.clearTimeout(timer);
    if (!isSettled && isLost(ending) && loader.record.blamesServer()) return end(ending);
    if (!isSettled && isLost(ending)) return handOver((way) => way.adopt(port, null, begunAt), ending);
    if (isLost(ending) && clock.now() - connectedAt < USEFUL_AFTER) loader.noteUseless();
    end(ending);
  };
  const beginSocket = (): void => {
    const socket = openSocket(host, {
      ...port,
      handleFrame: (frame, length) => {
        if (frame.type === "connected") {
          clock.clearTimeout(timer);
          connectedAt = clock.now();
          loader.record.noteCarried();
          isSettled = true;
        }
        port.handleFrame(frame, length);
      },
      handleEnd: takeEnd,
    });
    inner = socket;
    timer = clock.setTimeout(() => handOver((way) => way.adopt(port, inner && socket, begunAt), null), LOAD_AFTER);
  };
  const link: Link = {
    get checkLife() {
      return inner?.checkLife && (() => inner?.checkLife?.());
    },
    sendFrame: (frame) => inner?.sendFrame(frame) ?? 0,
    endWith: (code, name = null) => (inner ? inner.endWith(code, name) : end(makeEnding(code, name))),
    drop: (code) => {
      isOver = true;
      clock.clearTimeout(timer);
      inner?.drop(code);
    },
  };
  if (hasSocket) beginSocket();
  else handOver(go, makeEnding(1006, "network_error"));
  return link;
}
