/** Preparation of a client: its session, its record, and what outlives it in this browser. */

import type { Sync } from "./batch";
import { Backoff } from "./backoff";
import { RENEW_AGAIN, type Begun } from "./beginning";
import type { Copies } from "./copies";
import { Credentials } from "./credentials";
import type { Owner } from "./database";
import { Emitter } from "./emitter";
import { readEnvironment, type Environment } from "./environment";
import { SessionError, silenceRejection } from "./errors";
import type { SessionEvents } from "./events";
import type { SessionFields } from "./frames";
import { Identity } from "./identity";
import { arePartsGone } from "./loading";
import type { StartOptions } from "./options";
import type { Outboxes } from "./outboxes";
import { loadBatch, loadContent, loadCopies, loadHttp, loadOutboxes, loadTabs } from "./parts";
import { pause } from "./pause";
import { ClientRecord } from "./record";
import { Rest } from "./rest";
import { MemoryStore, Shelf } from "./storage";
import type { Share } from "./transport";

/** Parts that are made before the client. */
export interface Parts {
  options: StartOptions;
  env: Environment;
  rest: Rest;
  credentials: Credentials;
  identity: Identity;
  begun: Begun;
  content: Content;
  record: ClientRecord;
  /** Outboxes of this browser; null if nothing outlives the tab. */
  outboxes: Outboxes | null;
  emitter: Emitter<SessionEvents>;
  /** Null if every update is sent at once. */
  sync: Sync | null;
  copies: Copies | null;
  scope: string;
  /** Shares one connection with the other tabs; null if each tab has its own. */
  share: Share | null;
  /** Called when the outbox is stored, or cannot be. */
  stored: { tell(): void };
}

/** Return the prefix of everything that a browser keeps for an address and a name. */
export function nameScope({ url, name }: Pick<StartOptions, "url" | "name">, base = resolveBase(url ?? "/api/")): string {
  return `session-mgmt:${base}:${name ?? "default"}:`;
}

/** Milliseconds that a start with a session waits for the outboxes of closed tabs. */
const OUTBOXES_WITHIN = 2_000;
/** Milliseconds before a part is loaded again after the network has failed. */
const LOAD_AGAIN = 500;

/** Report an error to the application. */
type Tell = (error: SessionError) => void;

// The application may have no listener yet when these events happen.
const KEPT_EVENTS = ["error", "unsent", "adopted", "identity", "ended", "update_available"] as const;

export async function prepareStart(options: StartOptions): Promise<Parts> {
  const { signal } = options;
  signal?.throwIfAborted();
  const env = readEnvironment(options);
  requireSurroundings(env, options);
  const base = resolveBase(options.url ?? "/api/");
  const scope = nameScope(options, base);
  const emitter = new Emitter<SessionEvents>(KEPT_EVENTS);
  if (options.onError) emitter.on("error", options.onError);
  const tell: Tell = (error) => emitter.emit("error", error);
  const warn = makeWarning(tell);
  // The browser denies its storage to this page.
  if (env.page && env.local instanceof MemoryStore && !options.storage) warn();
  const rest = new Rest(env, base, options);
  const shared = options.share === "tab" ? env.session : env.local;
  // A cookie never belongs to one tab only.
  const wantedMode = options.tokenMode ?? (options.share === "tab" ? "bearer" : undefined);
  const credentials = new Credentials(new Shelf(shared, scope, warn), env.clock, wantedMode);
  const identity = new Identity({ env, rest, credentials, scope, tell }, options);
  // Load the files while the server is being asked.
  loadAhead(options);
  const loading = planOutboxes(options, env);
  const begun = await identity.begin(signal);
  credentials.dropTokens(new Shelf(env.session, scope, warn));
  const [outboxes, copies] = await Promise.all([
    openOutboxes(loading, env, warn),
    openCopies(options, env, nameOwner(scope, credentials.session), tell),
  ]);
  const close = (error: unknown): never => {
    outboxes?.store.close();
    copies?.close();
    throw error;
  };
  if (identity.isHidden) copies?.hideFound();
  const content = await awaitContent(env, tell, signal).then((found) => (found.checkOptions(options), found)).catch(close);
  const sync = await loadSync(options, env, tell);
  const share = await loadShare(options, env, tell);
  const slot = `${scope}client:${options.slot ?? ""}:`;
  const stored = { tell: (): void => undefined };
  const shelf = new Shelf(env.session, slot, warn);
  const tellStored = (isGone: boolean): void => {
    if (isGone) warn();
    stored.tell();
  };
  const opening = ClientRecord.open({ env, shelf, scope: slot, outboxes, ownerScope: scope, tellStored });
  const record = await opening.catch(close);
  const found = { begun, content, record, outboxes, sync, copies, share };
  return { options, env, rest, credentials, identity, emitter, scope, stored, ...found };
}

/** Throw `unsupported` if something is missing that the client cannot replace. */
function requireSurroundings({ Socket }: Environment, { fetch = globalThis.fetch, transports }: StartOptions): void {
  const missing = !fetch ? "fetch" : !Socket && `${transports}` === "websocket" ? "WebSocket" : null;
  if (missing) throw SessionError.local("unsupported", `There is no ${missing}: pass one as \`${missing}\`.`);
}

/** Begin to load all files that the start waits for, each separately. */
function loadAhead({ cache, sync, oneSocket }: StartOptions): void {
  const loads: (() => Promise<unknown>)[] = [loadContent];
  if (cache) loads.push(loadCopies);
  if (sync?.mode === "delayed") loads.push(loadBatch);
  if (oneSocket) loads.push(loadTabs, loadHttp);
  for (const load of loads) void silenceRejection(load());
}

type Content = Awaited<ReturnType<typeof loadContent>>;

/**
 * Wait for the part `content`. An error is reported once, and the part is loaded again. Throws `part_unavailable` if
 * the server no longer has the part, or the reason of the signal.
 */
async function awaitContent(
  { clock, random }: Environment,
  tell: Tell,
  signal: AbortSignal | undefined,
): Promise<Content> {
  const backoff = new Backoff(random);
  for (;;) {
    try {
      return await loadContent();
    } catch (error) {
      // The page was made for another version.
      if (arePartsGone()) throw error;
      if (backoff.attempt === 0) tell(error as SessionError);
      await pause(clock, backoff.nextWait() ?? RENEW_AGAIN, signal);
    }
  }
}

/** Return the owner of what is stored for a session in a scope. */
export function nameOwner(scope: string, { user_id, session_id }: SessionFields): Owner {
  return [scope, user_id ?? "", session_id];
}

/** Return a function that reports a failing storage at its first call. */
function makeWarning(tell: Tell): () => void {
  let warned = false;
  return () => {
    if (warned) return;
    warned = true;
    tell(SessionError.local("storage_unavailable", "The browser keeps nothing: a reload loses what waits."));
  };
}

type OutboxesPart = Awaited<ReturnType<typeof loadOutboxes>>;

/**
 * Begin to load the outboxes of this browser; return null where no other tab could send them: without Web Locks, or if
 * the session belongs to one tab, whose token is lost with the tab.
 */
function planOutboxes({ share }: StartOptions, env: Environment): Promise<OutboxesPart> | null {
  if (share === "tab" || !env.locks || !env.indexedDB) return null;
  return silenceRejection(loadOutboxes());
}

/** Open the outboxes. If they are not available in time, writes survive a reload, but not the end of their tab. */
async function openOutboxes(
  loading: Promise<OutboxesPart> | null,
  env: Environment,
  warn: () => void,
): Promise<Outboxes | null> {
  if (!loading) return null;
  const patience = new AbortController();
  const late = pause(env.clock, OUTBOXES_WITHIN, patience.signal).then(() => null);
  const again = (): Promise<OutboxesPart> => pause(env.clock, LOAD_AGAIN, patience.signal).then(loadOutboxes);
  const opening = loading.catch(again).then(({ Outboxes }) => Outboxes.open(env));
  try {
    const opened = await Promise.race([opening, late]);
    // If they open later, nothing else would close them.
    if (!opened) void opening.then(({ store }) => store.close(), () => undefined);
    if (!opened) warn();
    return opened;
  } catch {
    warn();
    return null;
  } finally {
    patience.abort();
  }
}

/** Open the local copies; return null if they are not wanted or not possible. */
async function openCopies(
  { cache, share }: StartOptions,
  env: Environment,
  owner: Owner,
  tell: Tell,
): Promise<Copies | null> {
  if (!cache) return null;
  const open = async (): Promise<Copies> => {
    // The session ends with the tab, and nothing would remove its copies.
    if (share === "tab") throw SessionError.local("cache_unavailable", "the session is one tab's");
    return (await loadCopies()).Copies.open(env, owner, tell);
  };
  return loadPart(open, tell, "cache_unavailable", "No local copies are kept");
}

/** Load delayed synchronisation; without it updates are sent at once. */
async function loadSync({ sync }: StartOptions, { page }: Environment, tell: Tell): Promise<Sync | null> {
  if (sync?.mode !== "delayed") return null;
  const load = async (): Promise<Sync> => ({ ...sync, ...(await loadBatch()), page });
  return loadPart(load, tell, "sync_unavailable", "Updates go at once");
}

/** Load the shared connection; without it each tab has its own. */
async function loadShare({ oneSocket }: StartOptions, env: Environment, tell: Tell): Promise<Share | null> {
  if (!oneSocket) return null;
  const load = async (): Promise<Share> => {
    const [{ shareTransport }, { openQuiet }] = await Promise.all([loadTabs(), loadHttp()]);
    return shareTransport(env, openQuiet);
  };
  return loadPart(load, tell, "one_socket_unavailable", "Each tab has its own connection");
}

/** Load a part that the client can work without; report if it is missing. */
async function loadPart<T>(load: () => Promise<T>, tell: Tell, name: string, effect: string): Promise<T | null> {
  try {
    return await load();
  } catch (error) {
    tell(SessionError.local(name, `${effect}: ${String(error)}`));
    return null;
  }
}

/** Return the absolute address of the API. Throws `invalid_option`. */
function resolveBase(url: string): string {
  const page = typeof location === "undefined" ? undefined : location.href;
  try {
    const base = new URL(url, page);
    if (base.protocol.startsWith("http")) return base.href.replace(/\/?$/, "/");
  } catch {
    // The error is thrown below.
  }
  throw SessionError.local("invalid_option", `Mend the call: url is an address, not ${url}.`);
}
