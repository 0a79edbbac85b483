/*! session_mgmt browser client 0.1.0, BSD-3-Clause. Built from session_mgmt/js; do not edit. */
/** The page's signs that the network or the tab may have changed. */
export interface EventTargetLike {
	addEventListener(type: string, listener: () => void): void;
	removeEventListener(type: string, listener: () => void): void;
}
export interface PageLike {
	window: EventTargetLike;
	document: EventTargetLike & {
		readonly visibilityState?: string;
	};
}
/** Storage that cannot fail: what the browser refuses to keep is kept in memory, and the application is told once. */
/** The part of the web's `Storage` that is used. */
export interface StoreLike {
	readonly length: number;
	key(index: number): string | null;
	getItem(key: string): string | null;
	setItem(key: string, value: string): void;
	removeItem(key: string): void;
}
declare class Shelf {
	#private;
	constructor(store: StoreLike, prefix: string, onFailure?: (error: unknown) => void);
	get<T>(name: string): T | null;
	set(name: string, value: unknown): void;
	remove(name: string): void;
	/** The names that begin with `start`. */
	listNames(start: string): string[];
	clear(start?: string): void;
}
export interface Clock {
	/** Wall-clock milliseconds; a jump tells that the machine slept. */
	now(): number;
	setTimeout(callback: () => void, milliseconds: number): unknown;
	clearTimeout(handle: unknown): void;
}
export interface SocketLike {
	onopen: ((event: never) => void) | null;
	onmessage: ((event: {
		data: unknown;
	}) => void) | null;
	onclose: ((event: {
		code: number;
		reason: string;
	}) => void) | null;
	onerror: ((event: never) => void) | null;
	send(text: string): void;
	close(code?: number, reason?: string): void;
}
export type SocketClass = new (url: string, protocols: string[]) => SocketLike;
export type Fetch = (url: string, init?: RequestInit) => Promise<Response>;
export interface LocksLike {
	request(name: string, options: {
		signal?: AbortSignal;
	}, callback: () => Promise<unknown>): Promise<unknown>;
}
export interface ChannelLike {
	onmessage: ((event: {
		data: unknown;
	}) => void) | null;
	postMessage(message: unknown): void;
	close(): void;
}
/** Every part may be replaced; what is not given comes from the page. */
export interface Surroundings {
	WebSocket?: unknown;
	fetch?: Fetch;
	/** `local` is shared by the tabs, `session` belongs to one tab. */
	storage?: {
		local?: StoreLike;
		session?: StoreLike;
	};
	clock?: Clock;
	random?: () => number;
	locks?: LocksLike | null;
	BroadcastChannel?: (new (name: string) => ChannelLike) | null;
	page?: PageLike | null;
	indexedDB?: IDBFactory | null;
}
export interface Environment {
	readonly Socket: SocketClass;
	readonly fetch: Fetch;
	readonly local: StoreLike;
	readonly session: StoreLike;
	readonly clock: Clock;
	readonly random: () => number;
	readonly locks: LocksLike | null;
	readonly Channel: (new (name: string) => ChannelLike) | null;
	readonly page: PageLike | null;
	readonly indexedDB: IDBFactory | null;
}
/** Full jitter: the wait before an attempt is anything between nothing and a bound that grows. */
export interface RetryPolicy {
	/** Seconds; the bound before the growth. */
	initial: number;
	/** Seconds; the highest bound. */
	maximum: number;
	factor: number;
	/** Attempts in a row before giving up; 0 is never. */
	attempts: number;
}
declare class Backoff {
	#private;
	policy: RetryPolicy;
	constructor(random: () => number);
	get attempt(): number;
	/** Milliseconds before the next attempt, never less than `atLeast` seconds; null when there have been enough. */
	nextWait(atLeast?: number): number | null;
	reset(): void;
}
/** The one error type. Programs branch on `name` or `code`, never on `message` (PROTOCOL section 11). */
export interface ErrorFields {
	code?: number;
	name?: string;
	temporary?: boolean;
	message?: string;
	retry_after?: number | null;
	[fact: string]: unknown;
}
export declare class SessionError extends Error {
	/** The server's number; 0 for an error that this client found itself. */
	readonly code: number;
	/** True if the same request may succeed later. */
	readonly temporary: boolean;
	/** Seconds, if the server said when to come back. */
	readonly retryAfter: number | null;
	/** The server's further fields, such as `position` of a conflict. */
	readonly facts: Record<string, unknown>;
	constructor(fields: ErrorFields);
	static local(name: string, message: string, temporary?: boolean): SessionError;
}
/** JSON values: their equality, the rules of PROTOCOL section 3 for what may be sent, and safe access to members. */
export type Json = any;
export type JsonObject = {
	[key: string]: Json;
};
export interface ValueLimits {
	depth: number;
	keyBytes: number;
	stringBytes: number;
}
export type Operation = readonly [
	"set",
	string,
	Json
] | readonly [
	"del",
	string
] | readonly [
	"ins",
	string,
	Json
] | readonly [
	"inc",
	string,
	number
] | readonly [
	"obj",
	string
];
export type Replaced = Record<string, string | null>;
/** Epoch, offset and tag: a place in a log. Two are equal only if all three parts are. */
export type Position = readonly [
	epoch: string,
	offset: number,
	tag: string
];
export interface Verdict {
	mode: "up_to_date" | "entries" | "snapshot" | "gap" | "denied";
	reason?: string;
	from?: number | null;
	to?: number | null;
	position?: Position;
	error?: ErrorFields;
	/** The server stores this document encrypted. */
	encrypted?: boolean;
}
export interface SessionFields {
	session_id: string;
	user_id: string | null;
	state: "active" | "expired" | "terminated";
	created_at: string;
	last_active_at: string;
	expires_at: string;
	connection_state: string;
	metadata: JsonObject;
}
export interface ConnectedFrame {
	type: "connected";
	session: SessionFields;
	client_id: string;
	generation: number;
	last_seq: number;
	went_back: boolean;
	verdict: "full" | "state_only" | "none";
	reason: string;
	logs: Record<string, Verdict>;
	subscriptions?: string[];
	heartbeat?: {
		interval: number;
		missed_limit: number;
		deadline: number;
	};
	limits?: Record<string, number>;
	retry?: RetryPolicy;
	endpoints?: Endpoints;
}
export interface Endpoints {
	websocket: string;
	session: string;
}
export interface EntriesFrame {
	type: "entries";
	log: string;
	epoch: string;
	entries: [
		offset: number,
		tag: string,
		body: Json
	][];
	recovered?: boolean;
}
export interface SnapshotFrame {
	type: "snapshot";
	log: string;
	position: Position;
	data?: Json;
	url?: string;
	reason?: string;
}
export interface GapFrame extends Verdict {
	type: "gap";
	log: string;
}
export interface ReceiptFrame {
	type: "receipt";
	seq: number;
	ok: boolean;
	replayed?: boolean;
	position?: Position;
	unchanged?: boolean;
	dropped?: string[];
	overwrote?: string[];
	conflicts?: Conflict[];
	/** Conflicts that the report had no room for. */
	more?: number;
	data?: Json;
	error?: ErrorFields;
}
/** Two changes of one path. A value that is not there has no field; `cut` says that values were left out. */
export interface Conflict {
	path: string;
	kept: "server" | "client" | "resolver";
	base?: Json;
	server?: Json;
	client?: Json;
	cut?: boolean;
	/** The record that `manual` keeps. */
	id?: string;
}
export type Strategy = "merge" | "server_wins" | "client_wins" | "reject" | "manual";
export interface ByeFrame {
	type: "bye";
	code: number;
	name: string;
	reconnect: boolean;
	retry_after: number | null;
}
export interface RecoveryReceipt {
	id: string;
	verdict: "full" | "state_only" | "none";
	reason: string;
	generation: number;
	asked: Record<string, Position | null>;
	replayed: Record<string, [
		number,
		number
	]>;
	lost: Record<string, [
		number | null,
		number
	]>;
	duration_ms: number;
	queries: number;
}
/** What an expired session's successor brought along. */
export interface SuccessorReceipt {
	verdict: "state_only" | "none";
	reason: string;
	recovered_from: string;
	documents: string[];
	subscriptions: string[];
}
export interface ErrorFrame extends ErrorFields {
	type: "error";
	id?: number;
	seq?: number;
}
export type ServerFrame = ConnectedFrame | EntriesFrame | SnapshotFrame | GapFrame | ReceiptFrame | ByeFrame | {
	type: "recovery";
	receipt: RecoveryReceipt;
} | {
	type: "reply";
	id: number;
	verdict?: Verdict;
} | ErrorFrame | {
	type: "ping";
	ping: number;
	rtt_ms?: number | null;
} | {
	type: "pong";
	id: number;
	server_time?: string;
} | {
	type: "ephemeral";
	topic: string;
	data: Json;
};
/** What a numbered write says, without its number: kept and sent again unchanged but for `base` and `epoch`. */
export type WriteFrame = UpdateFrame | PublishFrame | SendFrame;
export interface UpdateFrame {
	type: "update";
	doc: string;
	base?: number;
	epoch?: string;
	strategy?: Strategy;
	/** Digests of what the change replaced; sent only with `unseen`, which is never sent. */
	replaced?: Replaced;
	/** Only if the document was never written. */
	if_absent?: boolean;
	/** The base that it was made on is gone. */
	unseen?: boolean;
	ops?: Operation[];
	merge?: Json;
	data?: Json;
}
export interface PublishFrame {
	type: "publish";
	topic: string;
	data: Json;
	key?: string;
}
export interface SendFrame {
	type: "send";
	data: Json;
}
export interface Answer {
	body: Json;
	etag: string | null;
}
export interface RequestOptions {
	body?: unknown;
	/** Goes into the Authorization header, and only to the API's own origin. */
	token?: string | null;
	headers?: Record<string, string>;
}
declare class Rest {
	#private;
	/** Where relative addresses start: the absolute URL of the API. */
	readonly base: string;
	constructor(env: Environment, base: string, headers?: () => Record<string, string>);
	/** An address of the server; throws for another origin, which must never be given the token. */
	resolveUrl(path: string): string;
	/** Throws a SessionError: the server's own, or `network_error` (temporary) if there was no answer. */
	sendRequest(method: string, path: string, options?: RequestOptions): Promise<Answer>;
}
export interface CreateOptions {
	metadata?: JsonObject;
	config?: JsonObject;
	/** What people call this browser. */
	label?: string;
}
declare class Credentials {
	#private;
	constructor(env: Environment, rest: Rest, shelf: Shelf, scope: string, user?: string | number | null);
	get token(): string;
	get session(): SessionFields;
	get endpoints(): Endpoints;
	/** Takes the kept session or creates one; gives where a new one's logs begin. Two tabs at once create one. */
	obtainSession(options: CreateOptions): Promise<Record<string, Position>>;
	/** Takes what another tab has put in the place of this tab's session; false if nobody did. */
	adoptStored(): boolean;
	/**
	 * Asks for a successor of the expired session, unless another tab has (then there is no receipt). Throws what the
	 * server answered.
	 */
	recoverSession(): Promise<SuccessorReceipt | null>;
	/** The next start creates a new session. */
	forgetSession(): void;
}
/** Callbacks by name. One that throws never stops the others, nor the stream that called it. */
export type Unsubscribe = () => void;
declare class Emitter<Events extends {
	[K in keyof Events]: readonly unknown[];
}> {
	#private;
	on<K extends keyof Events>(type: K, callback: (...args: Events[K]) => void): Unsubscribe;
	emit<K extends keyof Events>(type: K, ...args: Events[K]): void;
	clear(): void;
}
/** The twelve events of the session's own log (docs/reference/events.md). */
export declare const EVENT_TYPES: readonly [
	"session_created",
	"session_updated",
	"session_expired",
	"session_terminated",
	"connection_established",
	"connection_lost",
	"connection_restored",
	"auth_required",
	"auth_success",
	"auth_failed",
	"state_synchronized",
	"error_occurred"
];
export type EventType = (typeof EVENT_TYPES)[number];
export type Status = "connecting" | "connected" | "reconnecting" | "disconnected" | "failed";
/** Why the status is what it is: the close code and its name; code 0 for what this client found itself. */
export interface StatusReason {
	code: number;
	name: string;
}
/** An entry of the session's log. `position` is null for an event that this client made itself: a refused token. */
export interface SessionEntry {
	type: string;
	data: Json;
	at: string | null;
	position: Position | null;
}
export interface Gap {
	log: string;
	/** The topic's name, or null for the session's own log. */
	topic: string | null;
	/** The first and the last entry that are lost; `from` is null if nobody knows. */
	from: number | null;
	to: number | null;
	reason: string;
}
/** A write that nobody will answer any more; `seq` is the number that it had. */
export interface UnsentWrite {
	seq: number;
	write: WriteFrame;
}
/** An update was made where somebody else had changed the same place. */
export interface ConflictReport {
	document: string;
	seq: number;
	/** Paths of operations that were left out, and of values of others that were overwritten. */
	dropped: string[];
	overwrote: string[];
	conflicts: Conflict[];
	/** Conflicts that the report had no room for. */
	more: number;
}
export type TimelineEvents = {
	[T in EventType]: [
		data: Json,
		entry: SessionEntry
	];
};
/** Whether what is seen of a document comes from its local copy. */
export interface CacheReport {
	document: string;
	fromCache: boolean;
}
export interface SessionEvents extends TimelineEvents {
	status: [
		status: Status,
		reason: StatusReason | null
	];
	recovery: [
		receipt: RecoveryReceipt | SuccessorReceipt
	];
	gap: [
		gap: Gap
	];
	message: [
		data: Json,
		entry: SessionEntry
	];
	cache: [
		report: CacheReport
	];
	conflict: [
		report: ConflictReport
	];
	unsent: [
		writes: UnsentWrite[],
		reason: string
	];
	error: [
		error: SessionError
	];
	"*": [
		type: EventType,
		data: Json,
		entry: SessionEntry
	];
}
export interface SessionInfo {
	sessionId: string;
	userId: string | null;
	state: "active" | "expired" | "terminated";
	createdAt: string;
	lastActiveAt: string;
	expiresAt: string;
	connectionState: Status;
	metadata: JsonObject;
}
export interface Validation {
	valid: boolean;
	/** Why not; null if valid. */
	reason: string | null;
}
export interface CreatedSession {
	session: SessionInfo;
	token: string;
}
export interface RecoveredSession extends CreatedSession {
	receipt: SuccessorReceipt | null;
}
export declare class Sessions {
	#private;
	/** `ended`: this client's own session is no more. */
	constructor(rest: Rest, credentials: Credentials, emitter: Emitter<SessionEvents>, ended: () => Promise<void>);
	/** A further session with the page's own login; this client stays with its own. */
	createSession(options?: CreateOptions): Promise<CreatedSession>;
	getSession(id?: string): Promise<SessionInfo>;
	updateSession(changes: CreateOptions, id?: string): Promise<SessionInfo>;
	terminateSession(id?: string): Promise<void>;
	getActiveSessions(): Promise<SessionInfo[]>;
	validateSession(permission?: string, id?: string): Promise<Validation>;
	/** Asks for the successor of an expired session, by its old token. */
	recoverSession(id?: string, options?: JsonObject, token?: string): Promise<RecoveredSession>;
	getSessionMetrics(id?: string): Promise<JsonObject>;
	/** Every event of this session's log. */
	onSessionEvent(listener: (type: EventType, data: Json, entry: SessionEntry) => void): Unsubscribe;
}
export declare class Auth {
	#private;
	constructor(credentials: Credentials, sessions: Sessions, emitter: Emitter<SessionEvents>);
	/** The bearer token: a secret, for headers only. */
	get token(): string;
	headers(): {
		Authorization: string;
	};
	validate(permission?: string): Promise<Validation>;
	/** Calls back when the token is no good any more: let the user log in, then start again. */
	onAuthRequired(listener: (data: Json, entry: SessionEntry) => void): Unsubscribe;
}
export interface HeartbeatPort {
	/** Asks the server for a sign of life. */
	askForLife(): void;
	/** Nothing was heard for too long. */
	endSilent(): void;
}
declare class Heartbeat {
	#private;
	/** Milliseconds without any frame after which the connection counts as dead. */
	deadline: number;
	constructor(clock: Clock, port: HeartbeatPort);
	start(): void;
	stop(): void;
	/** Any frame is a sign of life. */
	noteLife(): void;
	/** Something may have happened to the network: ask, and do not wait long for the answer. */
	startDoubt(): void;
}
/** Counters of one client since it was started. */
export interface ClientStats {
	connections: number;
	reconnects: number;
	framesSent: number;
	framesReceived: number;
	/** Characters of JSON text. */
	charactersSent: number;
	charactersReceived: number;
	/** Recoveries by the server's verdict. */
	recoveries: Record<"full" | "state_only" | "none", number>;
	gaps: number;
	messages: number;
	publications: number;
	receipts: number;
	refusals: number;
	/** Round trips in milliseconds as the server measured them; null before the first. */
	latency: {
		last: number | null;
		average: number | null;
		p95: number | null;
		jitter: number | null;
	};
	pending: number;
}
export type Counter = "gaps" | "messages" | "publications" | "receipts" | "refusals";
declare class Stats {
	#private;
	countSent(characters: number): void;
	countReceived(characters: number): void;
	countConnection(again: boolean): void;
	countRecovery(verdict: "full" | "state_only" | "none"): void;
	count(counter: Counter): void;
	addLatency(milliseconds: number): void;
	buildSummary(pending: number): ClientStats;
}
export interface ConnectionPort {
	/** The address of the next connection. */
	buildAddress(): string;
	/** Its first frame; asked for as late as possible, so that what the page subscribed to meanwhile is in it. */
	buildConnect(): object;
	takeConnected(frame: ConnectedFrame): void;
	handleFrame(frame: ServerFrame): void;
	handleDetach(): void;
	tellStatus(status: Status, reason: StatusReason | null): void;
	/** What to do about an end that is no ordinary loss: come back, or stay away. `wasReady`: after `connected`. */
	repairAfter(code: number, wasReady: boolean): Repair | Promise<Repair> | null;
}
export type Repair = "reconnect" | "stop";
declare class Connection {
	#private;
	status: Status;
	reason: StatusReason | null;
	readonly backoff: Backoff;
	readonly heartbeat: Heartbeat;
	constructor(env: Environment, port: ConnectionPort, stats: Stats);
	get connected(): boolean;
	/** Resolves when connected; rejects when the connection is given up before that. */
	connect(): Promise<void>;
	/** Stays away until `connect`; no sign of the page changes that. */
	disconnect(): void;
	reconnect(): Promise<void>;
	destroy(): void;
	/** The page saw a change: ask a live connection for a sign, and do not wait for the next attempt's time. */
	checkLife(): void;
	configure(retry: Partial<RetryPolicy>, deadline?: number): void;
	/** False if there is no connection. */
	sendFrame(frame: object): boolean;
	/** Sends a frame with an id; `answer` gets the reply, the error or the pong, unless the connection ends before. */
	askServer(frame: object, answer: (frame: ServerFrame) => void): boolean;
	/** Gives this connection up and comes back. */
	abandonSocket(code?: number): void;
}
/** A document without its data. */
export interface DocumentHead {
	name: string;
	version: number;
	position: Position;
	lastModified: string;
	/** The client that made the newest version; null for the server itself. */
	lastWriter: string | null;
	/** SHA-256 of the RFC 8785 text at `checksumVersion`, which may be older; opaque where it is encrypted. */
	checksum: string | null;
	checksumVersion: number | null;
	compressed: boolean;
	encrypted: boolean;
	/** Bytes of compact JSON, an upper bound. */
	size: number;
}
export interface ClientState extends DocumentHead {
	data: Json;
}
/** Bytes on the server. */
export interface DocumentSizes {
	version: number;
	/** Of compact JSON; an upper bound unless `exact`. */
	size: number;
	exact: boolean;
	/** Of snapshots, as they are stored. */
	stored: number;
	/** Of the operations in the log. */
	log: number;
	compressed: boolean;
}
export interface HistoryOptions {
	/** Versions below this one; `next` of the page before. */
	before?: number;
	limit?: number;
}
/** What made a version. */
export interface HistoryEntry {
	version: number;
	tag: string;
	kind: "patch" | "replace" | "clear" | "restore" | "merge";
	at: string;
	/** Null for the server itself. */
	clientId: string | null;
	seq: number | null;
	paths: string[];
	bytes: number;
	labels: string[];
}
/** Newest first. */
export interface HistoryPage {
	results: HistoryEntry[];
	/** The oldest version that can be read. */
	oldest: number;
	/** `before` of the next page; null on the last. */
	next: number | null;
}
export interface Checkpoint {
	label: string;
	version: number;
	/** Null in the answer of `persist`. */
	at: string | null;
}
/** An operation of RFC 6902. */
export interface PatchOperation {
	op: "add" | "remove" | "replace" | "move" | "copy" | "test";
	path: string;
	from?: string;
	value?: Json;
}
/** A conflict that `manual` kept. A value that was not there has no field. */
export interface KeptConflict {
	id: string;
	path: string;
	version: number;
	base?: Json;
	server?: Json;
	client?: Json;
	clientId: string | null;
	at: string;
	resolvedAt: string | null;
	resolution: Keep | null;
}
export type Keep = "server" | "client" | "value";
/** Where a write took effect. */
export interface UpdateResult {
	version: number;
	position: Position | null;
	/** True if the document was so already, or was not absent. */
	unchanged: boolean;
	/** Paths whose operations the strategy dropped, because somebody else changed the same place. */
	dropped: string[];
	/** Paths where values of others were overwritten. */
	overwrote: string[];
	conflicts: NonNullable<ReceiptFrame["conflicts"]>;
}
declare class ClientRecord {
	#private;
	private constructor();
	/**
	 * The record of this tab. If another tab holds its lock, this tab's storage is a copy of the other's: the copied
	 * writes are the other's to send, and this tab starts as a new client.
	 */
	static open(env: Environment, shelf: Shelf, scope: string): Promise<ClientRecord>;
	get session(): string | null;
	get client(): string | null;
	get next(): number;
	set next(seq: number);
	assignClient(session: string, client: string | null): void;
	/** The unanswered writes of an earlier page, in the order of their numbers. */
	readWrites(): [
		seq: number,
		write: WriteFrame
	][];
	storeWrite(seq: number, write: WriteFrame): void;
	dropWrite(seq: number): void;
	readPosition(log: string): Position | null;
	setPosition(log: string, position: Position | null): void;
	release(): void;
}
export interface OutboxBounds {
	writes: number;
	bytes: number;
}
export interface Write {
	seq: number;
	frame: WriteFrame;
	bytes: number;
	/** It may have reached the server, so its number can never be given to another write. */
	sent: boolean;
	/** The last one, while more may be added to it: not sent until it is released. */
	held: boolean;
	/** Transmissions on this connection that have no receipt yet. */
	unanswered: number;
	settle?: (receipt: ReceiptFrame | SessionError) => void;
}
export interface Change {
	/** `cache` is a value of the local copy, from before the server has answered. */
	origin: "local" | "server" | "cache";
	version: number;
}
export type Listener = (value: Json | undefined, change: Change) => void;
declare class Replica {
	#private;
	/** Where the confirmed value stands; null until the server has sent it. */
	position: Position | null;
	/** What the application sees. Operations are total, so the pending ones apply to whatever was confirmed. */
	get view(): Json;
	/** What the server confirmed. */
	get confirmed(): Json;
	get version(): number;
	get pending(): number;
	/** True while the server has not said whether the local copy is up to date, or sent what it lacks. */
	get fromCache(): boolean;
	/** Takes a local copy for the confirmed value, as if a connection had been lost there. */
	restoreCopy(data: Json, position: Position): void;
	/** Tells what the local copy shows to those who began to listen right after the start. */
	announceCopy(): void;
	on(path: string, listener: Listener): Unsubscribe;
	/** Shows a write before the server has answered it. */
	expectWrite(write: Write): void;
	/** An unsent write says something else now. */
	showAmended(origin: Change["origin"]): void;
	/** A write was answered. What it did is in the confirmed value, at once or as soon as that has reached `position`. */
	settleWrite(write: Write, position: Position | null): void;
	/** The confirmed value now stands here; null when another life of the document begins. */
	moveTo(position: Position | null): void;
	/** The server says that a snapshot will come: until then answers may be ahead of what is here. */
	awaitSnapshot(): void;
	/** The server says what has become of the place where the local copy stands. */
	takeVerdict({ mode, to }: Verdict): void;
	/** Applies one version's operations; `own` is the number of this client's write that made it. Then `settled`. */
	applyVersion(operations: readonly Operation[], own: number | null): void;
	/** Takes a snapshot. Writes up to `decided` were answered before it was made, so it holds what they did. */
	takeSnapshot(data: Json, decided: number): void;
	/** Shows what `advance` and `replace` did. */
	showConfirmed(): void;
	/** This client may not see any more what it saw. */
	resetValue(): void;
	dropPending(): void;
	clearWatches(): void;
}
export interface WriteOptions {
	/** Before the write was sent, aborting takes it back; later, it only ends the waiting. */
	signal?: AbortSignal;
}
export interface UpdateOptions extends WriteOptions {
	/** What happens if somebody else changed the same place since; else the client's, else the document's own counts. */
	strategy?: Strategy;
}
export interface StatePort {
	sendUpdate(frame: () => UpdateFrame, signal: AbortSignal | undefined): Promise<ReceiptFrame>;
	/** A call under `state/{name}/`; gives the answer's body. */
	callServer(method: string, path: string, body?: unknown, headers?: Record<string, string>): Promise<Json>;
	syncDocument(): Promise<void>;
	readLimits(): ValueLimits;
	/** For updates that name none. */
	strategy: Strategy | undefined;
}
export interface RestoreOptions {
	/** Only if the document is exactly there; else `precondition_failed`. */
	ifMatch?: Position;
}
export declare class StateDocument {
	#private;
	readonly name: string;
	constructor(name: string, replica: Replica, port: StatePort);
	/** The number of the last change that this client has seen. */
	get version(): number;
	get position(): Position | null;
	/** True while what is seen is the local copy (option `cache`), and the server has not said what it lacks. */
	get fromCache(): boolean;
	/** Updates that the server has not answered. */
	get pending(): number;
	/** The value at a path (RFC 6901), own pending writes included; undefined if none. Not to be changed in place. */
	get(path?: string): Json;
	/** Calls back when the value at the path has changed, by this client or by the server. */
	on(path: string, listener: Listener): Unsubscribe;
	set(path: string, value: Json, options?: UpdateOptions): Promise<UpdateResult>;
	del(path: string, options?: UpdateOptions): Promise<UpdateResult>;
	/** Adds to a number. Additions of several clients to one place all count. */
	inc(path: string, amount?: number, options?: UpdateOptions): Promise<UpdateResult>;
	/** Inserts into an array before the index at the end of the path; `-` appends. */
	insert(path: string, value: Json, options?: UpdateOptions): Promise<UpdateResult>;
	/** Merges an object by RFC 7396: members replace, null removes. */
	merge(patch: JsonObject, options?: UpdateOptions): Promise<UpdateResult>;
	/** Replaces the whole document. */
	replace(data: Json, options?: UpdateOptions): Promise<UpdateResult>;
	/** Several operations, applied together or not at all. */
	update(operations: readonly Operation[], options?: UpdateOptions): Promise<UpdateResult>;
	/**
	 * Gives the document its first value, and does nothing if it was ever written: neither another tab nor a reconnect
	 * can be overwritten by defaults. A document that was cleared is not absent.
	 */
	createIfAbsent(data: Json, options?: WriteOptions): Promise<UpdateResult>;
	/** Makes it `{}`; an ordinary new version. */
	clear(options?: UpdateOptions): Promise<UpdateResult>;
	/** Asks the server for what is missing, over HTTP. */
	sync(): Promise<number>;
	/** Bytes of the document as compact JSON. */
	size(): number;
	/** SHA-256 of what `get` gives as RFC 8785 text, in hex: the server's checksum if the two are equal. */
	checksum(): string;
	/** The document as the server has it, with what it knows of it. */
	info(): Promise<ClientState>;
	/** Bytes on the server: of the document, of its snapshots, of its log. */
	sizes(): Promise<DocumentSizes>;
	/** What made each version, newest first. */
	history({ before, limit }?: HistoryOptions): Promise<HistoryPage>;
	/** The value at a version, or under a label. Rejects with `not_found` where it is gone. */
	readAt(version: number | string): Promise<Json>;
	/** What makes the second version of the first; of the newest if none is given. */
	diff(from: number, to?: number): Promise<PatchOperation[]>;
	/** Keeps the present version for good, under a label (`v<version>` if none is given). */
	persist(label?: string): Promise<Checkpoint>;
	/** What `persist` keeps, oldest first. */
	checkpoints(): Promise<Checkpoint[]>;
	/** Gives a checkpoint up. Rejects with `not_found` if there is none of this label. */
	forget(label: string): Promise<void>;
	/** Makes an earlier version, or the one of a label, the newest; the change arrives like any other. */
	restore(to: number | string, { ifMatch }?: RestoreOptions): Promise<UpdateResult>;
	/** Stores a snapshot now and shortens a log that is over its limits. */
	compress(): Promise<DocumentSizes>;
	/** Conflicts that `manual` kept and nobody has decided, newest first; with `all` the decided ones too. */
	conflicts({ all }?: {
		all?: boolean;
	}): Promise<KeptConflict[]>;
	/** Decides a conflict; with `"value"` for the given one, or for none. */
	resolve(id: string, keep: Keep, value?: Json): Promise<UpdateResult>;
	getState(path?: string): Json;
	updateState(patch: JsonObject, options?: UpdateOptions): Promise<UpdateResult>;
	syncState(): Promise<number>;
	/** Keeps the present version on the server as a checkpoint. */
	persistState(body?: JsonObject): Promise<Json>;
	/** Makes an earlier version the newest; the change arrives like any other. */
	restoreState(body?: JsonObject): Promise<Json>;
	clearState(options?: UpdateOptions): Promise<UpdateResult>;
	compressState(): Promise<DocumentSizes>;
	getStateSize(): number;
	onStateChange(listener: Listener): Unsubscribe;
}
export interface ConnectionConfig extends Partial<RetryPolicy> {
	/** Seconds without a frame after which the connection counts as dead. */
	deadline?: number;
}
export interface ControlsPort {
	send(data: Json, options?: WriteOptions): Promise<Json>;
	stats(): ClientStats;
}
export declare class ConnectionControls {
	#private;
	constructor(connection: Connection, emitter: Emitter<SessionEvents>, clock: Clock, port: ControlsPort);
	/** Resolves when connected. */
	connect(): Promise<void>;
	/** Stays away until `connect`; what is written meanwhile waits. */
	disconnect(): void;
	reconnect(): Promise<void>;
	isConnected(): boolean;
	send(data: Json, options?: WriteOptions): Promise<Json>;
	onMessage(listener: (data: Json, entry: SessionEntry) => void): Unsubscribe;
	getConnectionStats(): ClientStats;
	/** Asks the server for a sign of life every `interval` seconds, beside the server's own beats; gives what ends it. */
	setupHeartbeat(interval?: number): Unsubscribe;
	stopHeartbeat(): void;
	/** Goes before what the server says. */
	setConnectionConfig({ deadline, ...retry }: ConnectionConfig): void;
}
/** When updates are sent; times in milliseconds. */
export interface SyncOptions {
	mode: "immediate" | "delayed";
	/** Without a further update. */
	delay?: number;
	/** After the first update, however many follow. */
	maxDelay?: number;
}
export interface CacheOptions {
	store: "indexeddb";
	/** Keep copies of documents that the server stores encrypted too; in this browser they are not. */
	encrypted?: boolean;
}
export interface StartOptions extends Surroundings {
	/** Where `session_mgmt.urls` is included. */
	url?: string;
	/** Whether the tabs of a browser share one session. */
	share?: "browser" | "tab";
	/** Separates several sessions of one site. */
	name?: string;
	/** Separates several clients of one page, or of frames of one tab; each needs its own. */
	slot?: string;
	/** Further headers of calls that use the page's own login, such as a CSRF token under another name. */
	headers?: () => Record<string, string>;
	create?: CreateOptions;
	autoConnect?: boolean;
	outbox?: Partial<OutboxBounds>;
	/** Settles conflicts of updates that name no strategy; without it the server's settings do. */
	strategy?: Strategy;
	/** Whether updates go at once, or gather and go as one; 200 and 2000 milliseconds unless told. */
	sync?: SyncOptions;
	/** Keeps documents in this browser, so that they are seen before the server answers, or without a network. */
	cache?: "indexeddb" | CacheOptions;
	/** The `user_id` of who is logged in, null for nobody: a session of anybody else in this browser is not continued. */
	user?: string | number | null;
}
/** Who reads a log. */
export interface Reader {
	/** Where to begin, from an earlier page; null for "from now on", or "everything" for a document. */
	readonly start: Position | null;
	takeEntry(body: Json, position: Position): void;
	/** After the last entry of a frame. */
	endFrame?(): void;
	takeGap?(gap: Gap): void;
	/** The place has changed; it is stored before the entry there is handed over. */
	moveTo?(position: Position | null): void;
	takeSnapshot?(data: Json): void;
	awaitSnapshot?(): void;
	/** What the server says of the place, before what follows from it. */
	takeVerdict?(verdict: Verdict): void;
	/** The server stores the document encrypted. */
	sealCopy?(): void;
	handleDenial?(error: SessionError): void;
}
export interface LogbookPort {
	/** Asks on the connection; `answer` gets the verdict, or the error. False if there is no connection. */
	askServer(frame: object, answer: (verdict: Verdict | SessionError) => void): boolean;
	fetchDocument(url: string): Promise<{
		data: Json;
		position: Position;
	}>;
	/** The connection must be given up and recovered. */
	abandonConnection(): void;
	tellGap(gap: Gap): void;
}
/** A verdict over HTTP carries what would follow it on a connection. */
export interface SyncAnswer extends Verdict {
	entries?: EntriesFrame["entries"];
	data?: Json;
}
declare class Logbook {
	#private;
	constructor(port: LogbookPort);
	/** Follows a log from the reader's start, or goes on where the log was left in the same turn. */
	followLog(name: string, reader: Reader): void;
	unfollowLog(name: string): void;
	position(name: string): Position | null;
	/** The `logs` of `connect`. */
	listPositions(): Record<string, Position | null>;
	/** Another session, or another life of this client, has other places. */
	forgetPlaces(listNames: readonly string[]): void;
	names(): string[];
	attach(asked: ReadonlySet<string>, verdicts: Record<string, Verdict>): void;
	detach(): void;
	takeEntries(frame: EntriesFrame): void;
	takeGap(frame: GapFrame): void;
	takeSnapshot(frame: SnapshotFrame): void;
	/** Takes the answer of an explicit synchronisation; what arrived by the connection meanwhile stays. */
	takeSyncAnswer(name: string, answer: SyncAnswer): void;
}
/** Where a publication stands in its topic; an ephemeral one stands nowhere. */
export type PublicationPlace = {
	epoch: string;
	offset: number;
	tag: string;
	ephemeral: false;
} | {
	epoch: null;
	offset: null;
	tag: null;
	ephemeral: true;
};
export type TopicListener = (data: Json, place: PublicationPlace) => void;
export interface PublishOptions {
	/** Publications of one topic with one key are one publication. */
	key?: string;
	/** Only for who listens now: not kept, not repeated, dropped without a connection. */
	ephemeral?: boolean;
	signal?: AbortSignal;
}
export interface TopicsPort {
	publishEntry(frame: Omit<PublishFrame, "type">, signal: AbortSignal | undefined): Promise<Position | null>;
	publishEphemeral(topic: string, data: Json): Promise<null>;
	tellDenied(topic: string, error: SessionError): void;
}
export declare class Topics {
	#private;
	constructor(logbook: Logbook, record: ClientRecord, stats: Stats, port: TopicsPort);
	/** Follows a topic from where this tab left it, else from now on. A refusal comes as `error` with `facts.topic`. */
	subscribe(topic: string, listener: TopicListener): Unsubscribe;
	/** Resolves with the publication's position when the server has it; with null at once for an ephemeral one. */
	publish(topic: string, data: Json, { key, ephemeral, signal }?: PublishOptions): Promise<Position | null>;
	onGap(listener: (gap: Gap) => void): Unsubscribe;
	/** Takes an `ephemeral` frame. */
	takeEphemeral(topic: string, data: Json): void;
	clearListeners(): void;
}
export declare class SessionClient {
	#private;
	readonly state: StateDocument;
	readonly topics: Topics;
	readonly connection: ConnectionControls;
	readonly sessions: Sessions;
	readonly auth: Auth;
	/**
	 * Resumes this tab's client, or joins the browser's session, or creates one; resolves without waiting for the
	 * connection. Rejects if a session is needed and the server refuses or does not answer.
	 */
	static start(options?: StartOptions): Promise<SessionClient>;
	private constructor();
	get id(): string;
	/** The server's name for this tab; null before the first connection. */
	get clientId(): string | null;
	get info(): SessionInfo;
	get status(): Status;
	/** Writes without an answer. */
	get pending(): number;
	on<K extends keyof SessionEvents>(type: K, callback: (...args: SessionEvents[K]) => void): Unsubscribe;
	/** Messages that the server sent to this session. */
	onMessage(callback: (data: Json, entry: SessionEntry) => void): Unsubscribe;
	/** Calls the application's handler once, also over drops and reloads; resolves with what it returned. */
	send(data: Json, { signal }?: WriteOptions): Promise<Json>;
	/** Sends the updates that delayed synchronisation holds back. */
	flush(): void;
	/** A named document; `main` is `state`. */
	document(name: string): StateDocument;
	/** Removes the local copies of this session from the browser and keeps no more; for a button that logs out. */
	clearCache(): Promise<void>;
	/** All documents of the session, without their data. */
	documents(): Promise<DocumentHead[]>;
	stats(): ClientStats;
	/**
	 * Ends this object: no callback, timer or listener of it is left. Unanswered writes stay for the next start in this
	 * tab.
	 */
	destroy(): void;
}
/** Close codes (PROTOCOL section 10); a test compares this table with that page. */
export declare const CLOSE: {
	readonly NORMAL: 1000;
	readonly DRAINING: 4000;
	readonly TOKEN_EXPIRED: 4001;
	readonly HEARTBEAT_LOST: 4002;
	readonly SLOW_CONSUMER: 4003;
	readonly INSUFFICIENT_STATE: 4004;
	readonly DETACHED: 4005;
	readonly CONNECT_TIMEOUT: 4008;
	readonly UNAVAILABLE: 4013;
	readonly TOO_MANY_REQUESTS: 4029;
	readonly SILENT_SERVER: 4102;
	readonly OUT_OF_ORDER: 4104;
	readonly INVALID_FRAME: 4500;
	readonly INVALID_TOKEN: 4501;
	readonly SESSION_TERMINATED: 4503;
	readonly SESSION_EXPIRED: 4504;
	readonly CONNECTION_LIMIT: 4505;
	readonly UNSUPPORTED_VERSION: 4506;
	readonly REPLACED: 4507;
	readonly CLIENT_FORGOTTEN: 4508;
	readonly ORIGIN_DENIED: 4509;
};

export {};
