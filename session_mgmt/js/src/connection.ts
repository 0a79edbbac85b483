/** Connection of the client: opens it, watches it, and reconnects after a wait. There is at most one at a time. */

import { Backoff, type RetryPolicy } from "./backoff";
import { CLOSE, closeName, mayReconnect } from "./codes";
import { runGuarded } from "./emitter";
import type { Environment } from "./environment";
import { SessionError } from "./errors";
import type { Status, StatusReason } from "./events";
import type { Beats, ConnectedFrame, Position, ServerFrame } from "./frames";
import { Heartbeat } from "./heartbeat";
import { OutOfOrder } from "./logbook";
import { watchPage } from "./page";
import type { Stats } from "./stats";
import type { Carrier, Ending, Link, LinkPort } from "./transport";

const CONNECT_WITHIN = 15_000;
const STABLE_AFTER = 30_000;
// Milliseconds that a completely recovered connection must last; a later loss counts as a new one.
const LASTING = 1_000;
// Least extra milliseconds that a hidden tab waits; up to as many are added at random.
const HIDDEN_LATER = 3_000;
// Least seconds to wait if the login is in doubt, because it may be changing; up to as many are added at random.
const LOGIN_WAIT = 2;
// A page that is left has stopped within this many milliseconds. A page that still runs then connects again.
const GONE_WITHIN = 30_000;
// Code that browsers give for a connection that ended without a close frame.
const CONNECTION_LOST = 1006;

export interface ConnectionPort {
  /** Prepare the next connection; null if there is nothing to wait for. Never rejects. */
  prepare(): Promise<Preparation> | null;
  /** Begin the next attachment. Throws if its address is invalid. */
  openLink(port: LinkPort): Link;
  /** Return the first frame. Called as late as possible, so that the frame contains all subscriptions. */
  buildConnect(): object;
  takeConnected(frame: ConnectedFrame): void;
  handleFrame(frame: ServerFrame): void;
  handleDetach(): void;
  /** Return the position after which the next entries of a log must come; undefined if the log is not followed. */
  findPlace(log: string): Position | null | undefined;
  readAcked(): number;
  tellTransport(name: Carrier): void;
  tellStatus(status: Status, reason: StatusReason | null): void;
  tellMissed(missed: number): void;
  tellRoundTrip(milliseconds: number): void;
  /**
   * Repair the client after an end that is not an ordinary loss: come back, or stay disconnected. `wasReady`: the end
   * came after `connected`.
   */
  repairAfter(ending: Ending, wasReady: boolean): Repair | Promise<Repair> | null;
}

export type Repair = "reconnect" | "stop";

/** Result of the preparation: `repair` is null if the connection may open now. */
export type Preparation =
  | { repair: null }
  | { repair: Repair; reason: StatusReason; retryAfter?: number | null };

interface Waiter {
  resolve(): void;
  reject(error: SessionError): void;
}

export class Connection {
  status: Status = "disconnected";
  reason: StatusReason | null = null;
  /** Callbacks for every frame, for the debug panel. */
  readonly watchers = new Set<(direction: "sent" | "received", frame: object) => void>();
  /** Carrier of the last attachment; null before the first one. */
  transport: Carrier | null = null;
  /** Callbacks for the moment when frames can be sent. */
  readonly attaching = new Set<() => void>();
  readonly backoff: Backoff;
  readonly heartbeat: Heartbeat;
  readonly #env: Environment;
  readonly #port: ConnectionPort;
  readonly #stats: Stats;
  readonly #unwatch: () => void;
  readonly #closing = new AbortController();
  #link: Link | null = null;
  #timer: unknown = null;
  /** Earliest time of the next attempt, as the server asked. */
  #notBefore = 0;
  #connectedAt: number | null = null;
  /** Time at which everything was recovered. */
  #wholeAt: number | null = null;
  #everConnected = false;
  /** True if frames can be sent; false also while an attachment changes its transport. */
  #isAttached = false;
  /** Reason why the server will end this connection. */
  #refusal: ServerFrame | null = null;
  #waiters: Waiter[] = [];
  #askId = 0;
  readonly #asked = new Map<number, (frame: ServerFrame | null) => void>();
  /** Settings of the application, which override those of the server. */
  #retry: Partial<RetryPolicy> = {};
  #deadline: number | undefined;
  /** Number of calls of `connect`, `disconnect` and the like, so that a running repair notices a later call. */
  #wish = 0;

  constructor(env: Environment, port: ConnectionPort, stats: Stats) {
    this.#env = env;
    this.#port = port;
    this.#stats = stats;
    this.backoff = new Backoff(env.random);
    this.heartbeat = new Heartbeat(env.clock, {
      askForLife: () => void this.askServer({ type: "ping" }, () => undefined),
      endSilent: () => this.#link?.endWith(CLOSE.SILENT_SERVER, "heartbeat_lost"),
      tellMissed: (missed) => this.#port.tellMissed(missed),
      isHidden: () => this.isHidden,
    });
    this.#unwatch = watchPage(env.page, () => this.checkLife());
  }

  get connected(): boolean {
    return this.status === "connected";
  }

  /** Aborted when the client is closed. Its record may belong to another page then, so nothing may start again. */
  get closed(): AbortSignal {
    return this.#closing.signal;
  }

  get isHidden(): boolean {
    return this.#env.page?.document.visibilityState === "hidden";
  }

  get #trying(): Status {
    return this.#everConnected ? "reconnecting" : "connecting";
  }

  /** Connect. Resolves when the client is connected; rejects when the client gives up before that. */
  connect(): Promise<void> {
    if (this.connected) return Promise.resolve();
    const ready = new Promise<void>((resolve, reject) => this.#waiters.push({ resolve, reject }));
    // A caller that does not wait must not get an unhandled rejection; the status reports the same.
    ready.catch(() => undefined);
    if (this.closed.aborted) this.#rejectWaiters(this.closed.reason);
    else if (this.status === "disconnected" || this.status === "failed") {
      this.#wish += 1;
      this.backoff.reset();
      this.#openLink();
    }
    return ready;
  }

  /** Disconnect, and stay disconnected until `connect`, whatever happens to the page. */
  disconnect(): void {
    this.#wish += 1;
    this.#closeAs("disconnected", { code: CLOSE.NORMAL, name: "closed" });
  }

  reconnect(): Promise<void> {
    this.disconnect();
    return this.connect();
  }

  close(): void {
    this.#closing.abort(SessionError.local("closed", "The client was closed: start another."));
    this.disconnect();
    this.#unwatch();
  }

  /** Release the connection, because the page is being left; it connects when the page comes back. */
  leavePage(): void {
    if (this.status === "disconnected" || this.status === "failed") return;
    // Whatever was being prepared is prepared again later.
    this.#wish += 1;
    this.#link?.drop();
    this.#detachLink();
    this.#timer = this.#env.clock.setTimeout(() => this.#openLink(), GONE_WITHIN);
    this.#setStatus(this.#trying, { code: 1001, name: "page_left" });
  }

  /** React to a change that the page saw: test a live connection, or begin the next attempt now. */
  checkLife(): void {
    if (this.connected) return this.#link?.checkLife ? this.#link.checkLife() : this.heartbeat.startDoubt();
    const isWaiting = this.#link === null && this.#timer !== null;
    if (isWaiting && this.#env.clock.now() >= this.#notBefore) this.#openLink();
  }

  configure(retry: Partial<RetryPolicy>, deadline?: number): void {
    this.#retry = retry;
    this.#deadline = deadline;
    this.backoff.policy = { ...this.backoff.policy, ...retry };
    this.heartbeat.configure({ deadline });
  }

  /** Use the heartbeat settings of the server. */
  takeBeats(beats: Beats | undefined): void {
    this.heartbeat.configure({ ...beats, ...(this.#deadline === undefined ? {} : { deadline: this.#deadline }) });
  }

  /** Send a frame; return false without a connection. */
  sendFrame(frame: object): boolean {
    if (!this.#isAttached) return false;
    const length = this.#link?.sendFrame(frame) ?? 0;
    if (length > 0) {
      this.#stats.count("framesSent");
      this.#stats.count("charactersSent", length);
      this.#tellWatchers("sent", frame);
    }
    return length > 0;
  }

  /** Send a frame with an id. `answer` receives the reply, the error or the pong; null if the attachment ends first. */
  askServer(frame: object, answer: (frame: ServerFrame | null) => void): boolean {
    this.#askId += 1;
    if (!this.sendFrame({ ...frame, id: this.#askId })) return false;
    this.#asked.set(this.#askId, answer);
    return true;
  }

  /** Return the reason why the client will not reconnect by itself; null while it may. */
  readFailure(): SessionError | null {
    if (this.closed.aborted) return this.closed.reason;
    return this.status === "failed" && this.reason ? describeEnd(this.reason) : null;
  }

  /** Stay disconnected, because nothing can be sent any more. */
  fail(reason: StatusReason): void {
    this.#wish += 1;
    this.#giveUp(reason);
  }

  /** Drop this connection and reconnect, because its frames are not in order. */
  abandonLink(name = "out_of_order"): void {
    this.#link?.endWith(CLOSE.OUT_OF_ORDER, name);
  }

  /** Drop this connection and reconnect, because it belongs to another session. */
  leaveSession(): void {
    this.#link?.endWith(CLOSE.DETACHED);
  }

  #openLink(): void {
    this.#clearTimer();
    const wish = this.#wish;
    this.#setStatus(this.#trying, this.reason);
    // A callback of the application may have called `connect` or `disconnect`.
    if (wish !== this.#wish) return;
    const prepared = this.#port.prepare();
    if (!prepared) return this.#openNow();
    void prepared.then((preparation) => {
      if (wish !== this.#wish) return;
      if (preparation.repair === null) this.#openNow();
      else if (preparation.repair === "stop") this.#giveUp(preparation.reason);
      else this.#planReturn(preparation.reason, preparation.retryAfter ?? 0);
    });
  }

  #openNow(): void {
    this.#refusal = null;
    try {
      const link = this.#port.openLink({
        ...this.#port,
        handleFrame: (frame, length) => this.#takeFrame(frame, length),
        handleEnd: (ending) => this.#handleEnd(ending),
        tellTransport: (name) => this.#noteTransport(name),
        beginSwitch: () => this.#beginSwitch(),
      });
      this.#link = link;
      this.#planEnd(link);
    } catch (error) {
      this.#giveUp({ code: 0, name: error instanceof SessionError ? error.name : "invalid_address" });
    }
  }

  #planEnd(link: Link): void {
    const endLate = (): void => link.endWith(CLOSE.SILENT_SERVER, "connect_timeout");
    this.#timer = this.#env.clock.setTimeout(endLate, CONNECT_WITHIN);
  }

  /** End the attachment, because its link gets another one at once. The application sees no difference. */
  #beginSwitch(): void {
    this.#letGo();
    if (this.#link) this.#planEnd(this.#link);
  }

  #noteTransport(name: Carrier): void {
    if (this.transport === name) return;
    this.transport = name;
    this.#port.tellTransport(name);
  }

  #takeFrame(frame: ServerFrame, length: number): void {
    this.#stats.count("framesReceived");
    this.#stats.count("charactersReceived", length);
    this.#tellWatchers("received", frame);
    this.heartbeat.noteLife();
    if (frame.type === "recovery" && this.#isAttached) this.#wholeAt ??= this.#env.clock.now();
    try {
      if (frame.type === "connected") this.#takeConnected(frame);
      else if (this.#isAttached) this.#dispatchFrame(frame);
      // The error tells why the server will end this connection. It is reported if nothing repairs that.
      else if (frame.type === "error") this.#refusal = frame;
    } catch (error) {
      // A frame that cannot be handled is reported. The next connection begins at the known positions.
      if (error instanceof OutOfOrder) return this.abandonLink();
      runGuarded(() => { throw error; });
      this.abandonLink("unreadable_frame");
    }
  }

  #tellWatchers(direction: "sent" | "received", frame: object): void {
    for (const watch of this.watchers) watch(direction, frame);
  }

  #takeConnected(frame: ConnectedFrame): void {
    this.#clearTimer();
    this.#connectedAt = this.#env.clock.now();
    // A new client has missed nothing.
    if (frame.generation === 1) this.#wholeAt = this.#connectedAt;
    this.backoff.policy = { ...this.backoff.policy, ...frame.retry, ...this.#retry };
    this.takeBeats(frame.heartbeat);
    if (!this.#link?.checkLife) this.heartbeat.start();
    this.#stats.count("connections");
    if (this.#everConnected) this.#stats.count("reconnects");
    const isSwitch = this.connected;
    this.#everConnected = this.#isAttached = true;
    this.status = "connected";
    this.reason = null;
    this.#port.takeConnected(frame);
    // A callback may have ended the connection.
    if (!this.connected) return;
    // A copy of the list: a callback whose frame could not be sent adds itself for the next attachment.
    for (const call of [...this.attaching]) call();
    if (!isSwitch) this.#port.tellStatus("connected", null);
    for (const waiter of this.#waiters.splice(0)) waiter.resolve();
  }

  #dispatchFrame(frame: ServerFrame): void {
    const id = "id" in frame ? frame.id : undefined;
    const answer = id === undefined ? undefined : this.#asked.get(id);
    if (id === undefined || !answer) return this.#port.handleFrame(frame);
    this.#asked.delete(id);
    answer(frame);
  }

  #handleEnd(ending: Ending): void {
    const { code, name, reconnect } = ending;
    const retryAfter = ending.retryAfter ?? (code === CLOSE.LOGIN_CHECK ? LOGIN_WAIT * (1 + this.#env.random()) : null);
    const wasReady = this.#connectedAt !== null;
    if (wasReady && code === CONNECTION_LOST && reconnect === null) this.heartbeat.noteLoss();
    if (this.#hasLasted(code)) this.backoff.reset();
    this.#detachLink();
    const reason = { code, name: name ?? closeName(code) };
    const wish = this.#wish;
    const refusal = this.#refusal;
    const settleEnd = (outcome: Repair): void => {
      // The application has called `connect` or `disconnect` meanwhile.
      if (wish !== this.#wish) return;
      if (outcome === "stop" && refusal) this.#port.handleFrame(refusal);
      if (outcome === "stop") this.#giveUp(reason);
      else this.#planReturn(reason, retryAfter ?? 0);
    };
    const repair = this.#port.repairAfter(ending, wasReady) ?? ((reconnect ?? mayReconnect(code)) ? "reconnect" : "stop");
    if (typeof repair === "string") return settleEnd(repair);
    this.#setStatus(this.#trying, reason);
    void repair.then(settleEnd);
  }

  #planReturn(reason: StatusReason, retryAfter: number): void {
    const wait = this.backoff.nextWait(retryAfter);
    if (wait === null) return this.#giveUp(reason);
    this.#notBefore = this.#env.clock.now() + retryAfter * 1000;
    this.#timer = this.#env.clock.setTimeout(() => this.#openLink(), wait + this.#chooseLateness());
    this.#setStatus(this.#trying, reason);
  }

  /** Return extra milliseconds for a hidden tab, so that visible tabs go first; `checkLife` ends the wait. */
  #chooseLateness(): number {
    return this.isHidden ? HIDDEN_LATER * (1 + this.#env.random()) : 0;
  }

  #giveUp(reason: StatusReason): void {
    this.#closeAs("failed", reason);
  }

  #closeAs(status: "disconnected" | "failed", reason: StatusReason): void {
    this.#clearTimer();
    this.#link?.drop();
    this.#detachLink();
    this.#setStatus(status, reason);
    this.#rejectWaiters(this.readFailure() ?? describeEnd(reason));
  }

  #rejectWaiters(error: SessionError): void {
    for (const waiter of this.#waiters.splice(0)) waiter.reject(error);
  }

  /** Return true if the connection lasted long enough to be independent of the one before. */
  #hasLasted(code: number): boolean {
    const isSince = (time: number | null, age: number): boolean => time !== null && this.#env.clock.now() - time >= age;
    // A frame that could not be handled may come again at once.
    return isSince(this.#connectedAt, STABLE_AFTER) || (code !== CLOSE.OUT_OF_ORDER && isSince(this.#wholeAt, LASTING));
  }

  #detachLink(): void {
    this.#link = null;
    // Events that follow must not find the status `connected`.
    if (this.connected) this.status = this.#trying;
    this.#letGo();
  }

  #letGo(): void {
    this.#connectedAt = this.#wholeAt = null;
    this.#isAttached = false;
    this.heartbeat.stop();
    this.#clearTimer();
    this.#port.handleDetach();
    const asked = [...this.#asked.values()];
    this.#asked.clear();
    for (const answer of asked) answer(null);
  }

  #setStatus(status: Status, reason: StatusReason | null): void {
    const isSame = reason?.code === this.reason?.code && reason?.name === this.reason?.name;
    const changed = status !== this.status || !isSame;
    this.status = status;
    this.reason = reason;
    if (changed) this.#port.tellStatus(status, reason);
  }

  #clearTimer(): void {
    this.#env.clock.clearTimeout(this.#timer);
    this.#timer = null;
  }
}

function describeEnd({ name }: StatusReason): SessionError {
  return SessionError.local(name, `The connection has failed (${name}): mend that, then call \`connect()\`.`);
}
