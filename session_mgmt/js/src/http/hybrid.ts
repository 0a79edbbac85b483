/**
 * Attachment that a socket carries where one can connect, and HTTP otherwise. Socket and HTTP race to reach the server,
 * but they never attach at the same time: before one of them attaches, any attach of the other has been given up.
 */

import { CLOSE } from "../codes";
import type { Socket } from "../socket";
import { isLost, makeEnding, type Ending, type Link, type LinkPort, type TransportHost } from "../transport";
import { HttpLink, type LinkHabits } from "./link";
import { QUESTION, type SocketUse, type Way } from "./way";

/** Milliseconds from the beginning within which a socket must be open, and within which it must be attached. */
const OPEN_WITHIN = 800;
const READY_WITHIN = 1_500;
/** Milliseconds that a slow socket may continue to open while HTTP carries the frames. */
const OPENING_LASTS = 10_000;
/** Milliseconds that the new attachment may take after a change of the transport. */
const SWITCH_WITHIN = 3_000;
/** Milliseconds within which an attach that was given up may still reach the server. */
const GHOST_LASTS = 20_000;

export interface HybridParts {
  host: TransportHost;
  port: LinkPort;
  habits: LinkHabits;
  way: Way;
}

export class HybridLink implements Link {
  readonly #parts: HybridParts;
  readonly #begunAt: number;
  /** Link that carries the attachment, or that is attaching. */
  #active: Link | null = null;
  /** Socket that is opening while HTTP carries the frames. */
  #late: Socket | null = null;
  #timer: unknown = null;
  #lateTimer: unknown = null;
  #use: SocketUse | null = null;
  /** HTTP link, once it is attached. */
  #http: HttpLink | null = null;
  /** True if the socket of the race was lost. */
  #hasLost = false;
  #isOver = false;
  #ghostUntil = 0;
  /** True if the late socket has answered. */
  #isProved = false;

  /** `socket`: the one that began to open at `begunAt`; null if it was lost, or if no socket is worth a try. */
  constructor(parts: HybridParts, socket: Socket | null, begunAt: number, hasLost: boolean) {
    this.#parts = parts;
    this.#begunAt = begunAt;
    this.#hasLost = hasLost;
    if (socket) this.#race(socket);
    else this.#openHttp();
  }

  get checkLife(): (() => void) | undefined {
    const active = this.#active;
    return active?.checkLife && (() => active.checkLife?.());
  }

  sendFrame(frame: object): number {
    return this.#active?.sendFrame(frame as never) ?? 0;
  }

  endWith(code: number, name: string | null = null): void {
    if (this.#active) return this.#active.endWith(code, name);
    this.#end(makeEnding(code, name));
  }

  drop(code?: number): void {
    const active = this.#active;
    this.#close();
    active?.drop(code);
  }

  get #clock() {
    return this.#parts.host.env.clock;
  }

  /** Let a socket open and attach, each within its time from the beginning. */
  #race(socket: Socket): void {
    this.#active = socket;
    this.#attachTo(socket, (ending) => this.#loseSocket(socket, ending));
    const since = this.#clock.now() - this.#begunAt;
    this.#timer = this.#clock.setTimeout(() => {
      if (!socket.isOpen) return this.#openBeside(socket);
      this.#timer = this.#clock.setTimeout(() => this.#giveUpAttach(socket), READY_WITHIN - OPEN_WITHIN);
    }, Math.max(0, OPEN_WITHIN - since));
  }

  /** Continue over HTTP, while the socket goes on opening. */
  #openBeside(socket: Socket): void {
    this.#late = socket;
    socket.port = {
      handleOpen: () => void socket.sendFrame(QUESTION),
      handleFrame: ({ type }) => {
        if (type !== "pong") return;
        this.#clock.clearTimeout(this.#lateTimer);
        this.#isProved = true;
        this.#takeProved();
      },
      handleEnd: () => {
        this.#late = null;
        this.#hasLost = true;
        if (this.#http) this.#takeHttp(this.#http);
      },
    };
    this.#lateTimer = this.#clock.setTimeout(() => socket.endWith(CLOSE.NORMAL), OPENING_LASTS - OPEN_WITHIN);
    this.#openHttp();
  }

  /** Give up a socket whose attach has no answer; the attach may still reach the server. */
  #giveUpAttach(socket: Socket): void {
    socket.drop();
    this.#ghostUntil = this.#clock.now() + GHOST_LASTS;
    this.#hasLost = true;
    this.#openHttp();
  }

  #loseSocket(socket: Socket, ending: Ending): void {
    if (socket !== this.#active) return;
    if (this.#parts.way.record.blamesServer()) return this.#end(ending);
    this.#hasLost = true;
    this.#openHttp();
  }

  /** Attach over a socket, now or when it opens. `lose` is called if the socket is lost before that. */
  #attachTo(socket: Socket, lose: (ending: Ending) => void): void {
    const { port, way } = this.#parts;
    this.#use = null;
    socket.port = {
      handleOpen: () => void socket.sendFrame(port.buildConnect()),
      handleFrame: (frame, length) => {
        if (frame.type === "connected") {
          this.#clock.clearTimeout(this.#timer);
          this.#use = way.watchUse();
          way.record.noteCarried();
          port.tellTransport("websocket");
        }
        this.#use?.noteFrame(frame);
        port.handleFrame(frame, length);
      },
      handleEnd: (ending) => {
        this.#clock.clearTimeout(this.#timer);
        if (!this.#use && isLost(ending)) return lose(ending);
        this.#use?.noteEnd(ending);
        this.#end(ending);
      },
    };
  }

  #openHttp(): void {
    const { host, port, habits, way } = this.#parts;
    way.endProbes();
    this.#clock.clearTimeout(this.#timer);
    let isAttached = false;
    const link: HttpLink = new HttpLink(
      host,
      {
        ...port,
        handleFrame: (frame, length) => {
          if (frame.type === "connected") {
            isAttached = true;
            this.#takeHttp(link);
          }
          port.handleFrame(frame, length);
        },
        handleEnd: (ending) => {
          if (link !== this.#active) return;
          const isGhost = ending.code === CLOSE.REPLACED && isAttached && this.#clock.now() < this.#ghostUntil;
          if (!isGhost) return this.#end(ending);
          // An attach of this client that was given up has replaced this attachment.
          port.beginSwitch();
          if (!this.#isOver) this.#openHttp();
        },
      },
      habits,
    );
    this.#active = link;
    this.#http = null;
  }

  /** Note that HTTP reaches the server, and try sockets from now on. */
  #takeHttp(link: HttpLink): void {
    const { way } = this.#parts;
    this.#http = link;
    if (this.#hasLost) way.memory.noteFailure();
    this.#hasLost = false;
    if (!this.#late) this.#beginProbes(link);
    else this.#takeProved();
  }

  #beginProbes(link: HttpLink): void {
    this.#parts.way.beginProbes((socket) => void this.#switchTo(socket, link));
  }

  /**
   * Change to the late socket if it has answered and HTTP is attached. An attach in progress is never given up for
   * another.
   */
  #takeProved(): void {
    if (this.#isProved && this.#late && this.#http) void this.#switchTo(this.#late, this.#http);
  }

  /** Change to a socket that has answered: wait until no call is in progress, then attach over the socket. */
  async #switchTo(socket: Socket, link: HttpLink): Promise<void> {
    const { port } = this.#parts;
    let isLostEarly = false;
    socket.port = { handleOpen: () => undefined, handleFrame: () => undefined, handleEnd: () => (isLostEarly = true) };
    this.#late = socket;
    await link.pause();
    if (this.#isOver) return;
    this.#late = null;
    if (link !== this.#active) return socket.drop();
    if (isLostEarly) return this.#stayOn(link);
    link.release();
    this.#http = null;
    this.#active = socket;
    port.beginSwitch();
    if (this.#isOver) return;
    const goBack = (): void => {
      if (socket === this.#active) this.#openHttp();
    };
    this.#attachTo(socket, goBack);
    this.#ghostUntil = this.#clock.now() + GHOST_LASTS;
    this.#timer = this.#clock.setTimeout(() => {
      socket.drop();
      goBack();
    }, SWITCH_WITHIN);
    socket.port.handleOpen();
  }

  #stayOn(link: HttpLink): void {
    link.resume();
    this.#beginProbes(link);
  }

  #end(ending: Ending): void {
    if (this.#isOver) return;
    this.#close();
    this.#parts.port.handleEnd(ending);
  }

  #close(): void {
    this.#isOver = true;
    this.#active = this.#http = null;
    this.#use?.noteEnd(null);
    this.#late?.drop();
    this.#parts.way.endProbes();
    this.#clock.clearTimeout(this.#timer);
    this.#clock.clearTimeout(this.#lateTimer);
  }
}
