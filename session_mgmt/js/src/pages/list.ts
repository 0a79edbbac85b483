/** List of pages: reads them one after another, and applies the entries of their topic. */

import { DEFAULT_RETRY } from "../backoff";
import { Callbacks, type Unsubscribe } from "../emitter";
import { SessionError, silenceRejection } from "../errors";
import type { Position } from "../frames";
import type { SessionClient } from "../index";
import type { PublicationPlace } from "../publications";
import { areEqual, type Json } from "../values";
import { readPage } from "./reading";
import { Segment, type Entry, type Item, type Live, type Page } from "./segment";
import type { Pages, PagesChange, PagesOptions, PagesShown } from "./shown";

/**
 * Errors after which the list is read again from its first page: the server refuses the cursor, or the page belongs to
 * another list.
 */
const LOST = ["cursor_expired", "cursor_foreign", "cursor_invalid", "list_changed"];
/** Milliseconds over which clients spread their requests after the same change. */
const SPREAD = 250;
/** Milliseconds after which a loss of the list is the first one again: two servers may differ while a site is deployed. */
const CALM = 60_000;
/** Number of losses after which the list is read again at once. */
const AT_ONCE = 2;

type Session = Pick<SessionClient, "auth" | "id" | "on" | "status" | "topics">;
type Place = readonly [epoch: string, offset: number, ...unknown: unknown[]];
type Job = (signal: AbortSignal) => Promise<void>;

export class LiveList<Row> implements Pages<Row> {
  shown: PagesShown<Row> = { rows: [], more: 0, hasNext: false, isLoading: true, error: null };
  readonly #session: Session;
  /** Address of the first page. */
  #url: string;
  readonly #options: PagesOptions;
  readonly #listeners = new Callbacks<[change: PagesChange<Row>]>();
  #segments: Segment<Row>[] = [];
  #next: string | null = null;
  #topic: string | null = null;
  /** Position of the last entry that was received; null until the topic has one. */
  #place: Place | null = null;
  #stops: Unsubscribe[] = [];
  /** Id of the session that reads the list. */
  #reader = "";
  /** Entries since the beginning of the request in progress. */
  #kept: [offset: number, entry: Entry<Row>][] = [];
  /** Ends the wait until the topic has reached the position of a page. */
  #reached = (): void => undefined;
  /** Rows that may be new, each with the segment where it may belong. */
  readonly #more = new Map<string, Segment<Row>>();
  /** Rows that may have changed since the last event, as they were then. */
  readonly #before = new Map<string, Item<Row> | undefined>();
  /** Aborted when the list is read from its beginning again. */
  #turn = new AbortController();
  #mustRestart = true;
  /** True while the list is read again; the old rows stay visible until as many are read. */
  #isRebuilding = false;
  /** Number of rows of the first page, and least number of rows to show. */
  #size = 0;
  #least = 0;
  #wantsNext = false;
  #isLoading = true;
  #isWorking = false;
  #isClosed = false;
  #isPlanned = false;
  #failure: SessionError | null = null;
  /** Number of failed attempts in a row; also of outdated pages, refused cursors, and refused subscriptions. */
  #failed = 0;
  #outdated = 0;
  #lost = 0;
  /** Time of the last loss of the list. */
  #lostAt = 0;
  #denied = 0;
  readonly #waiters: ((error: SessionError | null) => void)[] = [];

  constructor(session: Session, url: string, options: PagesOptions) {
    this.#session = session;
    this.#url = new URL(url, globalThis.location?.href).href;
    this.#options = options;
    void this.#work();
  }

  get rows(): readonly Row[] {
    return this.shown.rows;
  }

  get more(): number {
    return this.shown.more;
  }

  get hasNext(): boolean {
    return this.shown.hasNext;
  }

  get isLoading(): boolean {
    return this.shown.isLoading;
  }

  get error(): SessionError | null {
    return this.shown.error;
  }

  on(_type: "change", callback: (change: PagesChange<Row>) => void): Unsubscribe {
    return this.#listeners.add(callback);
  }

  loadNext(): Promise<void> {
    this.#wantsNext = true;
    return this.#wait();
  }

  refresh(): Promise<void> {
    if (this.#failure && !this.#failure.temporary) this.#restart();
    this.#failure = null;
    this.#failed = 0;
    this.#more.clear();
    for (const segment of this.#segments) segment.isDirty = true;
    return this.#wait();
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#listeners.clear();
    this.#leave();
    this.#interrupt();
    this.#settle(makeClosed());
  }

  #wait(): Promise<void> {
    const done = new Promise<void>((resolve, reject) => {
      this.#waiters.push((error) => (error ? reject(error) : resolve()));
    });
    if (this.#isClosed) this.#settle(makeClosed());
    else void this.#work();
    return silenceRejection(done);
  }

  #settle(error: SessionError | null): void {
    for (const settle of this.#waiters.splice(0)) settle(error);
  }

  /** Run the waiting tasks, one request at a time. */
  async #work(): Promise<void> {
    if (this.#isWorking) return;
    this.#isWorking = true;
    for (let job = this.#findJob(); job; job = this.#findJob()) {
      const { signal } = this.#turn;
      try {
        if (this.#failed + this.#denied > 0) await this.#backOff(signal);
        await job(signal);
        this.#failed = this.#outdated = 0;
        this.#failure = null;
      } catch (error) {
        // If the list has begun anew meanwhile, the error belongs to an old request.
        if (!signal.aborted) this.#judge(error as SessionError);
      }
      this.#plan();
    }
    this.#isWorking = this.#isLoading = false;
    this.#plan();
    if (!this.#isClosed) this.#settle(this.#failure);
  }

  #findJob(): Job | null {
    if (this.#isClosed || (this.#failure && !this.#failure.temporary)) return null;
    if (this.#mustRestart) return (signal) => this.#readFirst(signal);
    const dirty = this.#segments.find(({ isDirty }) => isDirty);
    const count = this.#countRows();
    const wantsNext = this.#wantsNext || count < this.#least || count * 2 < this.#size;
    const next = this.#next;
    // A list that is not shown yet is completed first.
    if (wantsNext && next && (this.#isRebuilding || !dirty)) return (signal) => this.#readNext(next, signal);
    this.#wantsNext = this.#isRebuilding = false;
    this.#least = 0;
    if (dirty) return (signal) => this.#readAgain(dirty, signal);
    return null;
  }

  #judge(error: SessionError): void {
    const first = new URL(this.#url);
    // The application may have begun at a cursor that it had kept.
    const isLost = LOST.includes(error.name) && (!this.#mustRestart || first.searchParams.has("cursor"));
    // Addresses from the server contain filters and an order. After a change of the view it may refuse those that the
    // client has kept, but answer the address of the application, which has none of them.
    const isTakenNoLonger = !this.#mustRestart && (!error.temporary || error.name === "http_500");
    const now = Date.now();
    if (now - this.#lostAt > CALM) this.#lost = 0;
    if (isLost || (isTakenNoLonger && this.#lost < AT_ONCE)) {
      first.searchParams.delete("cursor");
      this.#url = first.href;
      this.#lostAt = now;
      this.#lost += 1;
      // At once, but later and later while the list is lost again and again.
      this.#failed = Math.max(0, this.#lost - AT_ONCE);
      if (this.#failed > 0 && error.temporary) this.#failure = error;
      return this.#restart();
    }
    // Another subscriber of this page was ahead. Entries since this request are kept, so one more attempt is enough.
    if (error.name === "page_outdated" && (this.#outdated += 1) === 1) return;
    this.#failed += 1;
    if (!error.temporary) return this.#fail(error);
    this.#failure = error;
  }

  /** Keep what is shown, until `refresh`. */
  #fail(error: SessionError): void {
    this.#failure = error;
    this.#leave();
    this.#interrupt();
    this.#plan();
    void this.#work();
  }

  /** Read the list from its beginning; the old rows stay visible until as many are read. */
  #restart(): void {
    this.#mustRestart = true;
    this.#least = Math.max(this.#least, this.#countRows());
    this.#interrupt();
    void this.#work();
  }

  /** Abort the request in progress. */
  #interrupt(): void {
    this.#turn.abort();
    this.#turn = new AbortController();
    this.#reached();
  }

  async #readFirst(signal: AbortSignal): Promise<void> {
    this.#isLoading = true;
    const page = await this.#read(this.#url, signal, ({ live }) => this.#follow(live.topic, live.position));
    this.#empty();
    this.#isRebuilding = this.shown.rows.length > 0;
    this.#mustRestart = false;
    this.#size = page.live.pks.length;
    this.#takeIn(page, 0);
  }

  async #readNext(url: string, signal: AbortSignal): Promise<void> {
    this.#isLoading = true;
    this.#plan();
    const page = await this.#read(url, signal);
    this.#wantsNext = false;
    this.#takeIn(page, this.#segments.length);
  }

  /** Read the range of a segment again. */
  async #readAgain(segment: Segment<Row>, signal: AbortSignal): Promise<void> {
    if (this.#waiters.length === 0) await pause(Math.random() * SPREAD, signal);
    segment.isDirty = false;
    try {
      const page = await this.#read(segment.live.refresh, signal);
      const at = this.#segments.indexOf(segment);
      const isWhole = areEqual(page.live.until, segment.live.until);
      const isLast = at === this.#segments.length - 1;
      // A range that has become too long is cut, and the rest is read as new pages.
      if (!isWhole) this.#least = Math.max(this.#least, this.#countRows());
      const gone = this.#segments.splice(at, isWhole ? 1 : Infinity);
      for (const each of gone) this.#touchAll(each);
      for (const [pk, of] of this.#more) if (gone.includes(of)) this.#more.delete(pk);
      this.#takeIn(page, at, isLast || !isWhole);
    } catch (error) {
      segment.isDirty = true;
      throw error;
    }
  }

  /** Read a page, and wait until the topic has reached its position; `begin` is called before the wait. */
  async #read(url: string, signal: AbortSignal, begin?: (page: Page<Row>) => void): Promise<Page<Row>> {
    this.#kept = [];
    this.#reader = this.#session.id;
    // Position before the request: later entries are kept and can be applied to the page.
    const since = this.#place;
    const address = new URL(url, this.#url);
    // Behind a proxy the server may not know its own address; the proof of the session goes to no other origin.
    const known = new URL(address.pathname + address.search, this.#url).href;
    const page = await readPage<Row>(known, this.#options, this.#session.auth.headers(), signal);
    signal.throwIfAborted();
    if (begin) begin(page);
    else if (this.#isOfAnotherList(page)) {
      throw SessionError.local("list_changed", "The list has changed: it is read again.", true);
    }
    const { position } = page.live;
    const start = since ?? this.#place;
    if (!start || start[0] !== position[0] || start[1] > position[1]) {
      throw SessionError.local("page_outdated", "The page is older than what has been heard: it is read again.", true);
    }
    while ((this.#place?.[1] ?? 0) < position[1]) {
      await new Promise<void>((resolve) => (this.#reached = resolve));
      signal.throwIfAborted();
    }
    return page;
  }

  /** Return true if the server now uses another order or other filters than the shown pages have. */
  #isOfAnotherList({ live }: Page<Row>): boolean {
    const name = ({ topic, ordering, filters, other_filters }: Live): Json => [topic, ordering, filters, other_filters];
    return this.#segments.some((segment) => !areEqual(name(segment.live), name(live)));
  }

  /** Insert a page among the others, and apply the entries that came after it. */
  #takeIn(page: Page<Row>, at: number, isLast = true): void {
    const segment: Segment<Row> = new Segment(page, {
      touch: (pk, before) => this.#touch(pk, before),
      tellMore: (pk) => this.#more.set(pk, segment),
    });
    if (isLast) this.#next = page.next;
    for (const { pk } of segment.items) this.#touch(pk, this.#find(pk));
    for (const [offset, entry] of this.#kept) {
      this.#touch(entry.pk, this.#find(entry.pk));
      if (offset > page.live.position[1]) segment.applyEntry(entry, this.#find(entry.pk) ?? segment.find(entry.pk));
    }
    for (const { pk } of segment.items) for (const other of this.#segments) other.remove(pk);
    this.#segments.splice(at, 0, segment);
    this.#isLoading = this.#isRebuilding;
    this.#plan();
  }

  #follow(topic: string, position: Position): void {
    if (this.#topic === topic) return;
    this.#leave();
    this.#topic = topic;
    const { topics } = this.#session;
    const take = (data: unknown, place: PublicationPlace): void => this.#takeEntry(data as Entry<Row>, place);
    const subscription = topics.subscribe(topic, take, { since: { position } });
    const isOurs = (other: unknown): boolean => other === topic;
    this.#stops = [
      subscription,
      topics.onGap((gap) => isOurs(gap.topic) && this.#skip()),
      this.#session.on("conflated", (range) => isOurs(range.topic) && this.#skip()),
      this.#session.on("error", (error) => isOurs(error.facts.topic) && this.#refuse(error)),
      this.#session.on("identity", () => this.#session.id !== this.#reader && this.#changeReader()),
      this.#session.on("ended", ({ reason }) => this.#end(reason)),
    ];
    // Another subscriber of this page may follow the topic already, and be further ahead.
    this.#place = topics.position(topic);
    const settle = (): void => {
      this.#denied = 0;
      if (this.#topic === topic) this.#place ??= topics.position(topic);
    };
    void subscription.subscribed.then(settle, () => undefined);
  }

  #leave(): void {
    for (const stop of this.#stops.splice(0)) stop();
    this.#topic = this.#place = null;
  }

  #takeEntry(entry: Entry<Row>, { epoch, offset, ephemeral }: PublicationPlace): void {
    if (ephemeral) return;
    const place = this.#place;
    this.#place = [epoch, offset];
    // Another subscriber of this page follows only a part of the topic.
    if (place && (place[0] !== epoch || place[1] + 1 !== offset)) return this.#restart();
    if (entry?.op === "put" || entry?.op === "del") {
      this.#kept.push([offset, entry]);
      this.#more.delete(entry.pk);
      const shown = this.#find(entry.pk);
      // Before the row moves from one segment to another.
      this.#touch(entry.pk, shown);
      for (const segment of this.#segments) segment.applyEntry(entry, shown);
    }
    this.#plan();
    this.#reached();
    void this.#work();
  }

  /** Continue after a gap in the topic. */
  #skip(): void {
    this.#place = this.#session.topics.position(this.#topic as string);
    this.#restart();
  }

  #refuse(error: SessionError): void {
    if (!error.temporary) return this.#fail(error);
    this.#denied += 1;
    this.#beginAgain();
  }

  /** Follow the topic anew, in another session or after a refusal. */
  #beginAgain(): void {
    this.#leave();
    this.#restart();
  }

  /** Remove everything of another session. */
  #changeReader(): void {
    this.#beginAgain();
    this.#empty();
  }

  #empty(): void {
    for (const segment of this.#segments) this.#touchAll(segment);
    this.#segments = [];
    this.#next = null;
    this.#isRebuilding = false;
    this.#more.clear();
    this.#plan();
  }

  /** Remove everything of a session that has ended. */
  #end(reason: string): void {
    this.#empty();
    this.#fail(SessionError.local(reason, `The session has ended (${reason}): start another.`));
  }

  #find(pk: string): Item<Row> | undefined {
    for (const segment of this.#segments) {
      const item = segment.find(pk);
      if (item) return item;
    }
    return undefined;
  }

  #countRows(): number {
    return this.#segments.reduce((count, { items }) => count + items.length, 0);
  }

  #touch(pk: string, before: Item<Row> | undefined): void {
    if (!this.#before.has(pk)) this.#before.set(pk, before);
  }

  #touchAll(segment: Segment<Row>): void {
    for (const item of segment.items) this.#touch(item.pk, item);
  }

  /** Report the changes at the end of the turn. */
  #plan(): void {
    if (this.#isPlanned || this.#isClosed) return;
    this.#isPlanned = true;
    queueMicrotask(() => {
      this.#isPlanned = false;
      if (!this.#isClosed) this.#tell();
    });
  }

  #tell(): void {
    const change: PagesChange<Row> = { inserted: [], changed: [], removed: [], moved: [] };
    const isSame = this.#isRebuilding || !this.#collect(change);
    const rows = isSame ? this.shown.rows : this.#segments.flatMap(({ items }) => items.map(({ row }) => row));
    const [more, hasNext] = [this.#more.size, this.#next !== null];
    const shown = { rows, more, hasNext, isLoading: this.#isLoading, error: this.#failure };
    const names = Object.keys(shown) as (keyof typeof shown)[];
    if (names.every((name) => shown[name] === this.shown[name])) return;
    this.shown = shown;
    this.#listeners.call(change);
  }

  /** Collect the changes since the last event; return false if there are none. */
  #collect(change: PagesChange<Row>): boolean {
    for (const [pk, before] of this.#before) {
      const now = this.#find(pk);
      if (now) this.#more.delete(pk);
      if (!now && before) change.removed.push(pk);
      if (now && !before) change.inserted.push(now.row);
      if (!now || !before) continue;
      if (areEqual(now.row, before.row)) now.row = before.row;
      else change.changed.push(now.row);
      if (!areEqual(now.key, before.key)) change.moved.push(pk);
    }
    this.#before.clear();
    return Object.values(change).some(({ length }) => length > 0);
  }

  /** Wait before another attempt, longer after each failure, and until there is a connection. */
  async #backOff(signal: AbortSignal): Promise<void> {
    const { initial, maximum, factor } = DEFAULT_RETRY;
    const bound = Math.min(maximum, initial * factor ** (this.#failed + this.#denied));
    const least = this.#failure?.retryAfter ?? 0;
    await pause((least + Math.random() * bound) * 1000, signal);
    while (this.#session.status !== "connected") {
      await waitFor((done) => this.#session.on("status", done), signal);
    }
  }
}

function makeClosed(): SessionError {
  return SessionError.local("closed", "The pages were closed: make others.");
}

/**
 * Wait until `begin` calls `done`; `begin` returns a function that ends its wait. Rejects when the signal is aborted.
 */
async function waitFor(begin: (done: () => void) => Unsubscribe, signal: AbortSignal): Promise<void> {
  await new Promise<void>((resolve) => {
    const end = begin(done);
    signal.addEventListener("abort", done);
    function done(): void {
      end();
      signal.removeEventListener("abort", done);
      resolve();
    }
  });
  signal.throwIfAborted();
}

function pause(milliseconds: number, signal: AbortSignal): Promise<void> {
  const begin = (done: () => void): Unsubscribe => {
    const timer = setTimeout(done, milliseconds);
    return () => clearTimeout(timer);
  };
  return waitFor(begin, signal);
}
