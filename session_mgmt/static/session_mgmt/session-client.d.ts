/*! session_mgmt browser client 0.1.0, BSD-3-Clause. Built from session_mgmt/js; do not edit. */
/** Events of the page that may mean a change of the network or the tab. */
export interface EventTargetLike {
	addEventListener(type: string, listener: (event: Event) => void): void;
	removeEventListener(type: string, listener: (event: Event) => void): void;
}
export interface PageLike {
	window: EventTargetLike;
	document: EventTargetLike & {
		readonly visibilityState?: string;
	};
}
/** Storage that never fails: values that the browser refuses stay in memory, and the application is told once. */
/** Members of the web's `Storage` that the client uses. */
export interface StoreLike {
	readonly length: number;
	key(index: number): string | null;
	getItem(key: string): string | null;
	setItem(key: string, value: string): void;
	removeItem(key: string): void;
}
declare class Shelf {
	#private;
	constructor(store: StoreLike, prefix: string, onFailure?: (error: unknown) => void, memory?: Map<string, string>);
	get<T>(name: string): T | null;
	/** Store a value. `keepsOld`: the old value does no harm if it comes back after a reload. */
	set(name: string, value: unknown, keepsOld?: boolean): void;
	remove(name: string): void;
	/** List the names that begin with `start`. */
	listNames(start: string): string[];
	/** Return a shelf for the names that begin with `start`. */
	under(start: string): Shelf;
	clear(start?: string): void;
}
export interface Clock {
	/** Milliseconds of the wall clock. A jump shows that the machine slept. */
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
		ifAvailable?: boolean;
		steal?: boolean;
	}, callback: (lock: unknown) => Promise<unknown>): Promise<unknown>;
}
export interface ChannelLike {
	onmessage: ((event: {
		data: unknown;
	}) => void) | null;
	postMessage(message: unknown): void;
	close(): void;
}
/** Replaceable parts of the environment; by default those of the page. */
export interface Surroundings {
	/** WebSocket class; null for none, so that HTTP carries the connection. */
	WebSocket?: unknown;
	fetch?: Fetch;
	/** Stores: `local` is shared by all tabs, `session` belongs to one tab. */
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
	/** WebSocket class; null where there is none, as in Node 20. */
	readonly Socket: SocketClass | null;
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
/** Waits with full jitter: the wait before an attempt is random, up to a bound that grows. */
export interface RetryPolicy {
	/** Bound of the first wait, in seconds. */
	initial: number;
	/** Highest bound, in seconds. */
	maximum: number;
	factor: number;
	/** Failed attempts in a row before giving up; 0 for never. */
	attempts: number;
}
declare class Backoff {
	#private;
	policy: RetryPolicy;
	constructor(random: () => number);
	get attempt(): number;
	/** Return the milliseconds before the next attempt, at least `atLeast` seconds; null after the last attempt. */
	nextWait(atLeast?: number): number | null;
	reset(): void;
}
/**
 * Errors of the client; they have one class. Programs branch on `name` or `code`, never on `message` (PROTOCOL section
 * 11).
 */
export interface ErrorFields {
	code?: number;
	name?: string;
	temporary?: boolean;
	message?: string;
	retry_after?: number | null;
	[fact: string]: unknown;
}
export declare class SessionError extends Error {
	/** Number of the error; 0 if the client itself found it. */
	readonly code: number;
	/** True if the same request may succeed later. */
	readonly temporary: boolean;
	/** Seconds until the next attempt, if the server told them. */
	readonly retryAfter: number | null;
	/** More fields of the server's answer, such as `position` of a conflict. */
	readonly facts: Record<string, unknown>;
	constructor(fields: ErrorFields);
	static local(name: string, message: string, temporary?: boolean): SessionError;
}
/** JSON values: equality, the rules of PROTOCOL section 3 for sent values, and safe access to members. */
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
/** Position in a log. Two positions are equal only if epoch, offset and tag are equal. */
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
	/** False if entries since the requested time are no longer kept. */
	complete?: boolean;
	/** Proof of the right to read a topic, for polls. */
	grant?: string;
	/** True if the server stores this document encrypted. */
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
	label?: string;
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
	heartbeat?: Beats;
	limits?: Record<string, number>;
	retry?: RetryPolicy;
	endpoints?: Endpoints;
	/** Id of this recovery. Polls repeat it until the recovery is complete. */
	recovery?: string | null;
	/** Version of the client that this server delivers; absent on servers that are older than this field. */
	sdk?: string;
}
/** Heartbeat of a connection: seconds between two beats, beats that may be missed, and the silence that ends it. */
export interface Beats {
	interval: number;
	missed_limit: number;
	deadline: number;
	/** Seconds for which the server collects frames. */
	batch?: number;
}
export interface Endpoints {
	websocket: string;
	session: string;
	/** Address of the calls for connections over HTTP; absent if the server has none, or if an older client asked. */
	connections?: string;
	poll?: string;
	frames?: string;
	leave?: string;
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
	/**
	 * The frame stands for all entries from the one after this offset up to `position`, but does not contain all of them.
	 */
	prev?: number;
	position?: Position;
	/** Each omitted entry has a newer entry with the same key in the frame. */
	conflated?: boolean;
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
	/** Number of conflicts that the report leaves out. */
	more?: number;
	data?: Json;
	error?: ErrorFields;
}
/** Conflict of two changes of one path. Absent values are omitted; `cut` tells that values were left out. */
export interface Conflict {
	path: string;
	kept: "server" | "client" | "resolver";
	base?: Json;
	server?: Json;
	client?: Json;
	cut?: boolean;
	/** Id of the record that `manual` keeps. */
	id?: string;
}
export type Strategy = "merge" | "server_wins" | "client_wins" | "reject" | "manual";
export interface ByeFrame {
	type: "bye";
	code: number;
	name: string;
	reconnect: boolean;
	retry_after: number | null;
	reason?: string;
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
/** Receipt of a session that succeeds an expired one. */
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
	/** Log that the server stopped following, because the client may no longer read it. */
	log?: string;
	seq?: number;
}
export type ServerFrame = ConnectedFrame | EntriesFrame | SnapshotFrame | GapFrame | ReceiptFrame | ByeFrame | {
	type: "grants";
	grants: Record<string, string>;
} | {
	type: "again";
} | {
	type: "recovery";
	receipt: RecoveryReceipt;
} | {
	type: "reply";
	id: number;
	verdict?: Verdict;
	access?: string;
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
/** Write without its number. It is stored, and sent again unchanged except for its base. */
export type WriteFrame = UpdateFrame | PublishFrame | SendFrame;
export interface UpdateFrame {
	type: "update";
	doc: string;
	base?: number;
	epoch?: string;
	/** Tag that proves that the base belongs to the server's history. */
	tag?: string;
	strategy?: Strategy;
	/** Refuse the whole update unless every operation takes effect. */
	atomic?: boolean;
	/** Digests of the replaced values. They are sent only if `unseen` is true; `unseen` itself is never sent. */
	replaced?: Replaced;
	/** Write only if the document was never written. */
	if_absent?: boolean;
	/** True if the base of the update is gone. */
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
/** Tokens from an answer of the server; null if the present ones stay valid. Times are seconds from the answer on. */
export interface PairFields {
	access: string | null;
	refresh: string | null;
	expires_in: number | null;
	login_due_in: number | null;
}
/** Request that exchanged a token; repeated, it returns the same pair. */
export interface Exchange {
	token: string;
	nonce: string;
}
/** Proof of a session: tokens in the storage of the page (`bearer`), or a cookie that no script can read. */
export type TokenMode = "bearer" | "cookie";
/** Stored facts about a session, without its proof. */
export interface Named {
	session: SessionFields;
	endpoints: Endpoints;
	/** After a logout the page gets an anonymous session. */
	onLogout?: "anonymous";
	/** Session that this one replaces, and the reason, for tabs that learn of the change from the storage. */
	left?: {
		session: string;
		reason: string;
	};
}
export interface Kept extends Named {
	/** Access token, or a token without a refresh token; empty if a cookie proves the session. */
	token: string;
	/**
	 * Random value, new each time that a cookie was set or confirmed. It is no secret: it shows other tabs that one has
	 * entered.
	 */
	turn?: string;
	/** Absent with a cookie, and for a token that cannot be refreshed. */
	refresh?: string;
	/** Time at which the proof arrived, and its lifetime in milliseconds; absent if it need not be renewed. */
	since?: number;
	life?: number;
	/** Time from which the login must be proved again; null if the session has no login. */
	loginDue?: number | null;
	/** Exchange that returned the tokens, if one did. */
	from?: Exchange;
}
declare class Credentials {
	#private;
	/** True when the server has confirmed, since the page was loaded, whose session it is. */
	isVerified: boolean;
	/** `wanted`: only mode that the page accepts; by default that of the server. */
	constructor(shelf: Shelf, clock: Clock, wanted?: TokenMode);
	/** Session that this tab uses; null before the start and after the end. */
	get kept(): Kept | null;
	/** Token for requests; empty if a cookie is sent instead. Throws until the server has said whose session this is. */
	get token(): string;
	get session(): SessionFields;
	get endpoints(): Endpoints;
	/** Return the session that this or another tab has stored. */
	readStored(): Kept | null;
	/** Use the stored session. */
	adopt(kept: Kept, isVerified: boolean): void;
	/** Store a session with its tokens, and use it. */
	store(kept: Kept): void;
	/** Remove the stored session, unless another tab has stored another one meanwhile. */
	forgetStored(): void;
	/** Drop the tokens; keep only the id of the session. */
	end(): void;
	/** If a cookie is the only proof now, remove the tokens that a page with `share: "tab"` keeps in another store. */
	dropTokens(other: Shelf): void;
	/** Return the nonce of the request that is in progress, even if another tab began it. */
	beginRequest(): string;
	/** Drop the nonce, because its request has its final answer. */
	endRequest(): void;
	/** Id of a session whose login has ended. The next login of the same user restores its state. */
	get previous(): string | null;
	set previous(id: string | null);
	/** Check that the server uses the mode that the page wants. Throws `wrong_token_mode`. */
	requireMode(server: TokenMode): void;
	/** Return the kept session with a cookie as its proof, until the login must be proved again. */
	keepCookie(kept: Named, loginDueIn: number | null): Kept;
	/** Return the kept session with the tokens of an answer, and the times at which they are due. */
	renew(kept: Kept, pair: PairFields, from?: Exchange): Kept;
	/** Return the milliseconds until the proof should be renewed; `Infinity` if it need not be. */
	findDueIn({ since, life }?: Kept): number;
	/** Return true if the kept session can be used for a connection now. */
	isFresh({ turn, since, life }: Kept): boolean;
	/** Return true if the next exchange must carry the cookies of the page. */
	isLoginDue(): boolean;
}
/** Callbacks by name. A callback that throws never stops the other callbacks, nor the code that called it. */
export type Unsubscribe = () => void;
declare class Emitter<Events extends {
	[K in keyof Events]: readonly unknown[];
}> {
	#private;
	/** `kept`: types of events that wait for their first listener. */
	constructor(kept?: readonly (keyof Events)[]);
	on<K extends keyof Events>(type: K, callback: (...args: Events[K]) => void): Unsubscribe;
	/** Call `callback` for the next event only. */
	once<K extends keyof Events>(type: K, callback: (...args: Events[K]) => void): Unsubscribe;
	/** End every registration of `callback` by `on`. */
	off<K extends keyof Events>(type: K, callback: (...args: Events[K]) => void): void;
	emit<K extends keyof Events>(type: K, ...args: Events[K]): void;
	clear(): void;
}
export interface Answer {
	body: Json;
	etag: string | null;
}
export interface RequestOptions {
	body?: unknown;
	/**
	 * Token for the Authorization header. Empty: the session's cookie is sent instead. Absent: only the page's own login
	 * is sent.
	 */
	token?: string | null;
	headers?: Record<string, string>;
	/** Aborts the request, which then rejects with the reason of the signal. */
	signal?: AbortSignal;
}
/** Options for the page's own login. */
export interface LoginOptions {
	headers?: () => Record<string, string>;
	credentials?: RequestCredentials;
	tokenMode?: TokenMode;
	/** Name that separates several sessions of one site. */
	name?: string;
}
declare class Rest {
	#private;
	/** Absolute URL of the API; relative addresses start there. */
	readonly base: string;
	constructor(env: Environment, base: string, { headers, credentials, tokenMode, name }?: LoginOptions);
	/** Request the CSRF token; return false if the server has none for this page. */
	fetchCsrf(signal?: AbortSignal): Promise<boolean>;
	/** Return an address of the server. Throws for another origin, which must never get the token. */
	resolveUrl(path: string): string;
	/** Send a request. Throws a SessionError: that of the server, or `network_error` (temporary) without an answer. */
	sendRequest(method: string, path: string, options?: RequestOptions): Promise<Answer>;
	/** Send JSON text unchanged, and return the unread answer, whatever its status. Rejects without an answer. */
	postText(url: string, body: string, token: string, init?: RequestInit): Promise<Response>;
	/** Return the headers that prove a session by its token, or, if the token is empty, those beside its cookie. */
	proveSession(token: string): Record<string, string>;
}
export type TransportName = "websocket" | "sse" | "longpoll";
/** Carrier of the frames: a transport of this client, or `tab` for the connection of another tab. */
export type Carrier = TransportName | "tab";
/** End of a link. `retryAfter` is in seconds, if the server told it. */
export interface Ending {
	code: number;
	name: string | null;
	retryAfter: number | null;
	reconnect: boolean | null;
	/** Reason in one word, if the server gave it. */
	reason: string | null;
}
/** Calls of a link to its connection. */
export interface LinkPort {
	/** Return the first frame. Called as late as possible, so that the frame contains all subscriptions. */
	buildConnect(): object;
	handleFrame(frame: ServerFrame, length: number): void;
	/** Handle the end. It is called once, and nothing follows it. */
	handleEnd(ending: Ending): void;
	/** Return the position after which the next entries of a log must come; undefined if the log is not followed. */
	findPlace(log: string): Position | null | undefined;
	/** Return the highest number up to which all receipts have arrived. */
	readAcked(): number;
	/** Note the transport of this attachment, at its start and at each change. */
	tellTransport(name: Carrier): void;
	/** Note a round trip that the link has measured, in milliseconds. */
	tellRoundTrip?(milliseconds: number): void;
	/** Report that so many signs of life were missed in a row. Only a link that watches them itself calls this. */
	tellMissed?(missed: number): void;
	/** Note that another attachment of the same link follows at once. Nothing is sent until the next `connected`. */
	beginSwitch(): void;
}
/** Attachment: it opens, lives, and ends. */
export interface Link {
	/** Send a frame; return the length of its text, or 0 if nothing can be sent now. */
	sendFrame(frame: object): number;
	/** End the link from this side at once, and report it to the port. */
	endWith(code: number, name?: string | null): void;
	/** End the link without a report to the port. */
	drop(code?: number): void;
	/** Check that the link lives. Without this method the connection checks it. */
	checkLife?(): void;
}
/** The twelve events in the log of the session (docs/reference/events.md). */
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
/** Close code and its name, as the reason of a status; code 0 if the client itself found it. */
export interface StatusReason {
	code: number;
	name: string;
}
/**
 * Entry in the log of the session. `position` is null if the client itself made the event, for example for a refused
 * token.
 */
export interface SessionEntry {
	type: string;
	data: Json;
	at: string | null;
	position: Position | null;
}
export interface Gap {
	log: string;
	/** Name of the topic; null for the log of the session. */
	topic: string | null;
	/** First and last lost entry; `from` is null if it is unknown. */
	from: number | null;
	to: number | null;
	reason: string;
}
/** Range of a topic of which a slow reader received only the newest entry for each key. */
export type Conflated = Omit<Gap, "reason">;
/** Write that will get no answer; `seq` was its number. */
export interface UnsentWrite {
	seq: number;
	write: WriteFrame;
}
/** Report of an update of a value that another client had changed. */
export interface ConflictReport {
	document: string;
	seq: number;
	/** `dropped` lists operations that were left out, `overwrote` values of other clients that were overwritten. */
	dropped: string[];
	overwrote: string[];
	conflicts: Conflict[];
	/** Number of conflicts that the report leaves out. */
	more: number;
	/** True if a closed tab made the update, so that no promise has its result. */
	orphan?: boolean;
}
/** Writes without an answer. */
export interface PendingReport {
	/** Number of writes of this tab and of closed tabs. */
	count: number;
	/** Number of writes of closed tabs of this browser. */
	orphaned: number;
	/** True if all of them would survive the end of this tab. */
	durable: boolean;
}
/** Writes of a closed tab that this tab has sent. */
export interface AdoptedReport {
	count: number;
}
export type TimelineEvents = {
	[T in EventType]: [
		data: Json,
		entry: SessionEntry
	];
};
/** Report that the value of a document comes from its local copy, or no longer does. */
export interface CacheReport {
	document: string;
	fromCache: boolean;
}
/** Origin of the session of this page, and its user; `userId` is null for an anonymous session. */
export interface IdentityReport {
	verdict: "created" | "continued" | "claimed" | "recovered";
	reason: string;
	userId: string | null;
}
/** End of a session. This tab has removed everything of it. */
export interface EndReport {
	reason: string;
}
/** Number of server beats that were missed in a row. The next frame of any kind resets it. */
export interface MissedReport {
	missed: number;
}
/** Newer version of this client on the server; `wanted` is null if the server has not named it. */
export interface UpdateReport {
	current: string;
	wanted: string | null;
	/** The server named a newer version, or has removed the files of this version. */
	reason: "server_newer" | "parts_gone";
}
export interface SessionEvents extends TimelineEvents {
	status: [
		status: Status,
		reason: StatusReason | null
	];
	heartbeat_missed: [
		report: MissedReport
	];
	transport: [
		name: Carrier
	];
	recovery: [
		receipt: RecoveryReceipt | SuccessorReceipt
	];
	gap: [
		gap: Gap
	];
	conflated: [
		range: Conflated
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
	pending: [
		report: PendingReport
	];
	adopted: [
		report: AdoptedReport
	];
	unsent: [
		writes: UnsentWrite[],
		reason: string
	];
	identity: [
		report: IdentityReport
	];
	ended: [
		report: EndReport
	];
	update_available: [
		report: UpdateReport
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
export interface ClientStats {
	/** Present or last transport; null before the first connection. */
	transport: Carrier | null;
	connections: number;
	reconnects: number;
	framesSent: number;
	framesReceived: number;
	/** Characters of JSON text. */
	charactersSent: number;
	charactersReceived: number;
	/** Recoveries by the verdict of the server. */
	recoveries: Record<"full" | "state_only" | "none", number>;
	gaps: number;
	messages: number;
	publications: number;
	receipts: number;
	refusals: number;
	/** Beats of the server that were missed. */
	missedBeats: number;
	latency: Latency;
	pending: number;
}
/**
 * Round-trip times in milliseconds; null before the first one. Over a WebSocket the server measures each beat; over
 * HTTP the client measures calls that are answered at once. `jitter_ms` is the average difference between two
 * consecutive times.
 */
export interface Latency {
	last_ms: number | null;
	average_ms: number | null;
	p95_ms: number | null;
	jitter_ms: number | null;
}
export type Counter = Exclude<keyof ClientStats, "transport" | "recoveries" | "latency" | "pending">;
declare class Stats {
	#private;
	count(counter: Counter, by?: number): void;
	countRecovery(verdict: "full" | "state_only" | "none"): void;
	addLatency(milliseconds: number): void;
	buildSummary(pending: number, transport: Carrier | null): ClientStats;
}
export interface Validation {
	valid: boolean;
	/** Reason why the session is not valid; null if it is. */
	reason: string | null;
}
/** Connection as the server has recorded it. Times are ISO 8601, latencies are milliseconds. */
export interface ConnectionFigures {
	client_id: string;
	generation: number;
	transport: "websocket" | "sse" | "longpoll";
	state: "open" | "lost" | "closed";
	opened_at: string;
	closed_at: string | null;
	close_code: number | null;
	closed_by: string;
	latency: Latency;
	beats: {
		sent: number;
		missed: number;
	};
	messages: {
		in: number;
		out: number;
	};
	bytes: {
		in: number;
		out: number;
	};
	/** Verdict of the recovery at its beginning; null if there was none. */
	recovery: "full" | "state_only" | "none" | null;
}
export interface CreatedSession {
	session: SessionInfo;
	token: string;
}
export interface RecoveredSession extends CreatedSession {
	receipt: SuccessorReceipt | null;
}
export interface SessionInfo {
	sessionId: string;
	userId: string | null;
	state: "active" | "expired" | "terminated";
	createdAt: string;
	lastActiveAt: string;
	expiresAt: string;
	connectionState: Status;
	/** Name of this browser, for people. */
	label: string;
	metadata: JsonObject;
}
/** Token with fewer rights than its session. */
export interface NarrowedToken {
	token: string;
	/** Lifetime in seconds, from the answer on. */
	expiresIn: number;
	scopes: string[];
}
export interface RestoreOptions {
	/** Restore only if the document is exactly at this position; otherwise reject with `precondition_failed`. */
	ifMatch?: Position;
}
export interface ConflictOptions {
	/** Also list conflicts that are resolved. */
	includeResolved?: boolean;
}
/** Document without its data. */
export interface DocumentHead {
	name: string;
	version: number;
	position: Position;
	lastModified: string;
	/** Client that wrote the newest version; null for the server. */
	lastWriter: string | null;
	/**
	 * SHA-256 of the RFC 8785 text at `checksumVersion`, which may be an older version. Opaque if the document is
	 * encrypted.
	 */
	checksum: string | null;
	checksumVersion: number | null;
	compressed: boolean;
	encrypted: boolean;
	/** Size in bytes as compact JSON; an upper bound. */
	size: number;
}
export interface ClientState extends DocumentHead {
	data: Json;
}
/** Sizes in bytes on the server. */
export interface DocumentSizes {
	version: number;
	/** Size as compact JSON; an upper bound unless `exact`. */
	size: number;
	exact: boolean;
	/** Size of the stored snapshots. */
	stored: number;
	/** Size of the operations in the log. */
	log: number;
	compressed: boolean;
}
export interface HistoryOptions {
	/** Only versions below this one; `next` of the previous page. */
	before?: number;
	limit?: number;
}
/** Version with its origin. */
export interface HistoryEntry {
	version: number;
	tag: string;
	kind: "patch" | "replace" | "clear" | "restore" | "merge";
	at: string;
	/** Client that wrote the version; null for the server. */
	clientId: string | null;
	seq: number | null;
	paths: string[];
	bytes: number;
	labels: string[];
}
/** Versions, newest first. */
export interface HistoryPage {
	results: HistoryEntry[];
	/** Oldest readable version. */
	oldest: number;
	/** `before` of the next page; null on the last page. */
	next: number | null;
}
export interface Checkpoint {
	label: string;
	version: number;
	/** Time of the checkpoint; null in the answer of `persist`. */
	at: string | null;
}
/** Operation of RFC 6902. */
export interface PatchOperation {
	op: "add" | "remove" | "replace" | "move" | "copy" | "test";
	path: string;
	from?: string;
	value?: Json;
}
/** Conflict that the strategy `manual` has kept. Absent values are omitted. */
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
/** Result of a write. */
export interface UpdateResult {
	version: number;
	position: Position | null;
	/** True if the document already had this value, or if `createIfAbsent` found it written. */
	unchanged: boolean;
	/**
	 * Paths of operations that had no effect: another client changed the value, or an `inc` left the range of numbers.
	 */
	dropped: string[];
	/** Paths where values of other clients were overwritten. */
	overwrote: string[];
	conflicts: NonNullable<ReceiptFrame["conflicts"]>;
}
/**
 * Place of a publication in its topic; an ephemeral one has no position. `live` is false for publications from before
 * the server followed the topic on this connection.
 */
export type PublicationPlace = {
	live: boolean;
} & ({
	epoch: string;
	offset: number;
	tag: string;
	ephemeral: false;
} | {
	epoch: null;
	offset: null;
	tag: null;
	ephemeral: true;
});
export type TopicListener<Data = Json> = (data: Data, place: PublicationPlace) => void;
export interface PublishOptions {
	/** Idempotency key: publications of one topic with the same key count as one publication. */
	key?: string;
	/**
	 * Deliver only to clients that are connected now. The publication is not kept or repeated, and is dropped without a
	 * connection.
	 */
	ephemeral?: boolean;
	signal?: AbortSignal;
}
export type FilterValue = string | number | boolean | null;
/** Required value of each named member of a publication; with `in` one of several values. */
export type TopicFilter<Data = Json> = {
	[Key in keyof Data & string]?: Extract<Data[Key], FilterValue> | {
		in: Extract<Data[Key], FilterValue>[];
	};
};
export interface SubscribeOptions<Data = Json> {
	/**
	 * How to continue if this tab reads too slowly, one of the ways that the topic allows; by default its first one. If a
	 * topic has several subscribers, the first one decides.
	 */
	slow?: "replay" | "latest" | "drop_oldest" | "disconnect";
	/**
	 * Where to begin. `position`, usually rendered into the page, is preferred to the place where this tab left the
	 * topic. The other two count only if the tab has no such place: `time` begins with the first publication that is not
	 * older, `last` with that many publications before the newest (at most 1,000). If a topic has several subscribers,
	 * the first one decides.
	 */
	since?: {
		position: Position;
	} | {
		time: string | Date;
	} | {
		last: number;
	};
	/**
	 * Deliver only publications with these members, which the topic must declare as filters: `{ region: "eu" }`, or
	 * `{ region: { in: ["eu", "us"] } }`. If a topic has several subscribers, the first one decides.
	 */
	filter?: TopicFilter<Data>;
	/**
	 * Receive the value that the publications change, before all publications and again after a gap; for topics that have
	 * a value. A refusal rejects `subscribed`.
	 */
	snapshot?: (value: Json) => void;
}
export interface PastOptions {
	/** Only publications before this position. For the next page give the `position` of the first entry. */
	before?: Position | null;
	/** Number of publications: at most 200, by default 50. */
	limit?: number;
}
/** Page of past publications of a topic, the newest one last. */
export interface PastPage {
	/** Publications of the page; `at` is ISO 8601. */
	entries: {
		data: Json;
		position: Position;
		at: string;
	}[];
	/** True if older publications are kept. */
	more: boolean;
}
export interface TopicsPort {
	/** Ask over the connection. Resolves with null without a connection or a reply. Rejects if the server refuses. */
	askSocket<Answer>(frame: object): Promise<Answer | null>;
	/** Aborted with the error when the client is closed. */
	readonly closed: AbortSignal;
	readonly events: {
		on(type: "status", callback: (status: Status) => void): Unsubscribe;
	};
	publishEntry(frame: Omit<PublishFrame, "type">, signal: AbortSignal | undefined): Promise<Position | null>;
	publishEphemeral(topic: string, data: Json): Promise<null>;
	tellDenied(topic: string, error: SessionError): void;
}
/** Subscription; call it to end it. */
export type Subscription = Unsubscribe & {
	/**
	 * Settled when the server follows the topic; from then on nothing is missed. Resolves with false if publications
	 * since `since.time` are no longer kept. Rejects if the server refuses, with `unsubscribed`, and with `closed`. A
	 * temporary refusal (`busy`) is reported as an `error`, and the client asks again.
	 */
	readonly subscribed: Promise<boolean>;
};
/** Topics of a client, as a reader of one of them uses them. */
export interface TopicSource {
	subscribe(topic: string, listener: TopicListener, options?: SubscribeOptions): Subscription;
	onGap(listener: (gap: Gap) => void): Unsubscribe;
}
/** Call a path under `state/{name}/`; return the body of the answer. */
export type CallDocument = (method: string, path: string, body?: unknown, headers?: Record<string, string>) => Promise<Json>;
declare class DocumentRequests {
	#private;
	/** `readVersion`: return the newest version that the client has seen. */
	constructor(call: CallDocument, readVersion: () => number);
	/** Fetch the stored document with facts about it. */
	info(): Promise<ClientState>;
	/** Fetch the sizes in bytes of the document, its snapshots and its log on the server. */
	sizes(): Promise<DocumentSizes>;
	/** List the versions with their origins, newest first. */
	history({ before, limit }?: HistoryOptions): Promise<HistoryPage>;
	/** Fetch the value at a version or a label. Rejects with `not_found` if it is no longer kept. */
	readAt(version: number | string): Promise<Json>;
	/** Compare two versions; by default the second one is the newest. */
	diff(from: number, to?: number): Promise<PatchOperation[]>;
	/** Keep the present version as a checkpoint with a label (by default `v<version>`). */
	persist(label?: string): Promise<Checkpoint>;
	/** List the checkpoints, oldest first. */
	checkpoints(): Promise<Checkpoint[]>;
	/** Remove a checkpoint. Rejects with `not_found` if no checkpoint has this label. */
	forget(label: string): Promise<void>;
	/** Write an earlier version or a checkpoint again, as the newest version. The change arrives like any other. */
	restore(to: number | string, { ifMatch }?: RestoreOptions): Promise<UpdateResult>;
	/** Store a snapshot now, and shorten the log if it exceeds its limits. */
	compress(): Promise<DocumentSizes>;
	/** List the unresolved conflicts that `manual` has kept, newest first. */
	conflicts({ includeResolved }?: ConflictOptions): Promise<KeptConflict[]>;
	/** Resolve a conflict. `"value"` keeps the given value, or removes it if none is given. */
	resolve(id: string, keep: Keep, value?: Json): Promise<UpdateResult>;
	/** Keep the present version on the server as a checkpoint. */
	persistState(body?: JsonObject): Promise<Json>;
	/** Write an earlier version again, as the newest one. The change arrives like any other. */
	restoreState(body?: JsonObject): Promise<Json>;
	compressState(): Promise<DocumentSizes>;
}
export interface Device {
	sessionId: string;
	/** Name that the user gave to the device. */
	label: string;
	browser: string;
	system: string;
	/** Place, if the project can tell it; otherwise empty. */
	place: string;
	firstSeen: string;
	lastSeen: string;
	connectionState: Status;
	/** True for the session that asks. */
	isCurrent: boolean;
}
export interface OutboxBounds {
	writes: number;
	bytes: number;
}
export interface Write {
	seq: number;
	frame: WriteFrame;
	bytes: number;
	/** True if the write may have reached the server, so that no other write may ever get its number. */
	sent: boolean;
	/** True if the storage said so when this page began. */
	wasSent: boolean;
	/** True for the last write while more updates may be added to it. It is not sent until it is released. */
	held: boolean;
	/** True if another page may have sent the write under this number. */
	restored: boolean;
	/** Number of transmissions on this connection without a receipt. */
	unanswered: number;
	settle?: (receipt: ReceiptFrame | SessionError) => void;
}
export interface Change {
	/** Source of the change; `cache` is a value of the local copy, from before the server has answered. */
	origin: "local" | "server" | "cache";
	version: number;
}
export type Listener<Value = Json | undefined> = (value: Value, change: Change) => void;
declare class Replica {
	#private;
	/** Position of the confirmed value; null until the server has sent it. */
	position: Position | null;
	/**
	 * Value that the application sees. A part of it is replaced by another object only if its value changes. Operations
	 * are total, so unanswered ones can be applied to any confirmed value.
	 */
	get view(): Json;
	/** Value that the server has confirmed. */
	get confirmed(): Json;
	get version(): number;
	get pending(): number;
	/** True until the server has confirmed the local copy, or has sent the changes since. */
	get fromCache(): boolean;
	/** Take a local copy as the confirmed value, as if a connection had been lost at that version. */
	restoreCopy(data: Json, position: Position): void;
	/** Report the local copy to listeners that were registered right after the start. */
	announceCopy(): void;
	on(path: string, listener: Listener): Unsubscribe;
	/** Return true if the value already shows a write. */
	holdsWrite(write: Write): boolean;
	/** Show a write before the server has answered it. */
	expectWrite(write: Write): void;
	/** Show the new content of an unsent write. */
	showAmended(origin: Change["origin"]): void;
	/** Settle an answered write. The confirmed value contains its effect once it has reached `position`. */
	settleWrite(write: Write, position: Position | null): void;
	/** Set the position of the confirmed value; null when another epoch begins. */
	moveTo(position: Position | null): void;
	/** Expect a snapshot. Until it arrives, receipts may be ahead of the confirmed value. */
	awaitSnapshot(): void;
	/** Handle the server's verdict on the position of the local copy. */
	takeVerdict({ mode, to }: Verdict): void;
	/** Apply the operations of one version; `own` is the number of the write if this client made it. */
	applyVersion(operations: readonly Operation[], own: number | null): void;
	/** Replace the value by a snapshot. Writes up to `decided` were answered before, so the snapshot contains them. */
	takeSnapshot(data: Json, decided: number): void;
	/** Show the confirmed value after versions or a snapshot. */
	showConfirmed(): void;
	/** Remove the value, because this client may no longer see it. */
	resetValue(): void;
	dropPending(): void;
	clearWatches(): void;
}
/** Timing of updates, in milliseconds. */
export interface SyncOptions {
	mode: "immediate" | "delayed";
	/** Wait after the last update. */
	delay?: number;
	/** Longest wait after the first update, however many follow. */
	maxDelay?: number;
}
/** Schema as many libraries define it: `parse` throws if a value does not fit. Its result is not used. */
export interface Schema {
	parse(value: unknown): unknown;
}
/** Part of the client, as an entry of the package exports it, for example `session-mgmt-client/http`. */
export type Part = (shared: never) => object;
export interface CreateOptions {
	metadata?: JsonObject;
	config?: JsonObject;
	/** Name of this browser, for people. */
	label?: string;
}
/** Document of a visitor's session. The user decides whether to take over the session with these documents. */
export interface VisitorDocument {
	name: string;
	version: number;
}
export interface CacheOptions {
	store: "indexeddb";
	/** Also keep copies of documents that the server stores encrypted. The copies in this browser are not encrypted. */
	encrypted?: boolean;
}
export interface StartOptions extends Surroundings {
	/** Address where the site includes `session_mgmt.urls`. */
	url?: string;
	/** With `browser` all tabs of a browser share one session; with `tab` each tab has its own session. */
	share?: "browser" | "tab";
	/** Name that separates several sessions of one site. */
	name?: string;
	/**
	 * Only kind of proof that the page accepts; by default the kind that the server uses. With `cookie` the page holds no
	 * secret: a cookie that no script can read proves the session, and all tabs share it.
	 */
	tokenMode?: TokenMode;
	/** Name that separates several clients of one page, or of frames in one tab. Each of them needs its own. */
	slot?: string;
	/** Return more headers for calls that use the page's own login, such as a CSRF token with another header name. */
	headers?: () => Record<string, string>;
	create?: CreateOptions;
	autoConnect?: boolean;
	outbox?: Partial<OutboxBounds>;
	/** Strategy for conflicts of updates that name no strategy; by default the settings of the server decide. */
	strategy?: Strategy;
	/** Send updates at once, or collect them first (by default for 200 ms, at most 2000 ms). */
	sync?: SyncOptions;
	/** Keep documents in this browser, to show them before the server answers and without a network. */
	cache?: "indexeddb" | CacheOptions;
	/**
	 * Key of the user for whom the server made the page; null for nobody. It only makes the start faster: without it, the
	 * client asks the server before it shows anything. If another user is logged in, the start rejects with
	 * `login_mismatch`.
	 */
	user?: string | number | null;
	/**
	 * What to do if the server does not answer and the kept session belongs to a user. `wait` (default) shows nothing
	 * until the server has confirmed who is logged in. `kept` shows the local copies at once; use it for a device that
	 * belongs to one person.
	 */
	whenOffline?: "wait" | "kept";
	/**
	 * Option `credentials` of `fetch`: `include` is for an API on another origin that accepts the cookies of this page.
	 */
	credentials?: "same-origin" | "include";
	/**
	 * Decide what happens to a visitor's session when the visitor logs in, if the server asks. By default the user starts
	 * with a new session.
	 */
	onAsk?: (documents: VisitorDocument[]) => "claim" | "fresh" | Promise<"claim" | "fresh">;
	/**
	 * Transports that the page allows; by default all. The client prefers a WebSocket. Where none can connect, it uses
	 * HTTP: streams (`sse`), or long polls (`longpoll`) where a proxy holds streams back. The code for HTTP is loaded
	 * when it is needed.
	 */
	transports?: readonly TransportName[];
	/**
	 * Use one connection for all tabs of the session: one tab leads and passes on what the server sends; the other tabs
	 * write over HTTP. This needs Web Locks and BroadcastChannel. Without them each tab has its own connection, as by
	 * default.
	 */
	oneSocket?: boolean;
	/**
	 * Parts that are in the page's own scripts, so that the client does not load them later. It is enough to name them
	 * here: a bundler makes one module of the named part and of the part that the client loads.
	 */
	parts?: readonly Part[];
	/** End the start, which then rejects with the reason of the signal. It has no effect after the start. */
	signal?: AbortSignal;
	/**
	 * Check the document `main`. A write that would break the schema is refused with `schema_mismatch`. A value of the
	 * server that breaks it is shown, and reported as an `error`.
	 */
	schema?: Schema;
	/**
	 * Receive every error from the beginning of the start, like a listener of `error` that was there before the start.
	 */
	onError?: (error: SessionError) => void;
}
declare class SessionRequests {
	#private;
	/** `own`: session of the client at the time of the call. `ended`: called when that session was terminated. */
	constructor(rest: Rest, credentials: Credentials, own: string, ended: () => Promise<void>);
	/** Create another session with the page's own login. This client keeps its own session. */
	createSession(options?: CreateOptions): Promise<CreatedSession>;
	getSession(id?: string): Promise<SessionInfo>;
	updateSession(changes: CreateOptions, id?: string): Promise<SessionInfo>;
	terminateSession(id?: string): Promise<void>;
	getActiveSessions(): Promise<SessionInfo[]>;
	/** List the devices of the user: this one first, then by last use, newest first. */
	list(): Promise<Device[]>;
	/** Log a device out: end its session and its login. Rejects with `reauth_required` if the own login is too old. */
	end(id: string): Promise<void>;
	/** Log out all other devices of the user. Resolves with their number. */
	endOthers(): Promise<number>;
	validateSession(permission?: string, id?: string): Promise<Validation>;
	/** Create the successor of an expired session, by the old token. */
	recoverSession(id?: string, options?: JsonObject, token?: string): Promise<RecoveredSession>;
	getSessionMetrics(id?: string): Promise<JsonObject>;
	/** List the newest hundred connections with figures, as the server last stored them. */
	getConnections(id?: string): Promise<ConnectionFigures[]>;
}
/** Member of a topic with its own data; `since` is ISO 8601. */
export interface Member {
	data: Json;
	since: string;
}
export type MembersById = Record<string, Member>;
export declare class Presence {
	#private;
	/** Members by id, in a new object after each change; null while there are more than the topic shows. */
	members: MembersById | null;
	count: number;
	constructor(topics: TopicSource, port: TopicsPort, topic: string);
	/** Follow the log, and read the members. Call it once, as `presence()` does. */
	begin(): Promise<this>;
	/**
	 * Enter the topic, or change the data of this client's member. Resolves with the id of the member. The client stays a
	 * member over lost connections and server restarts until it leaves.
	 */
	enter(data?: Json): Promise<string>;
	/** Change the data of this client's member, as `enter` does. */
	update(data: Json): Promise<string>;
	/** Leave the topic, but keep the list of members up to date. */
	leave(): Promise<void>;
	/** Call `callback` after each change of the members or of their number. */
	on(event: "change", callback: () => void): Unsubscribe;
	/** Leave the topic if this client has entered it, and stop following its members. */
	close(): void;
}
declare class TopicRequests {
	#private;
	constructor(topics: TopicSource, port: TopicsPort);
	/**
	 * List the members of a topic and keep the list up to date until it is closed. `enter` makes this client a member.
	 */
	presence(topic: string): Promise<Presence>;
	/**
	 * Read past publications before a position, by default the newest ones; the newest one is last. No subscription is
	 * needed.
	 */
	history(topic: string, { before, limit }?: PastOptions): Promise<PastPage>;
}
export interface HeartbeatPort {
	/** Ask the server for a sign of life. */
	askForLife(): void;
	/** End the connection, because no frame came for too long. */
	endSilent(): void;
	/** Report how many beats of the server were missed in a row. */
	tellMissed(missed: number): void;
	isHidden(): boolean;
}
declare class Heartbeat {
	#private;
	/** Milliseconds without any frame after which the connection counts as lost. */
	deadline: number;
	/** Milliseconds between two beats that the server promises. */
	interval: number;
	constructor(clock: Clock, port: HeartbeatPort);
	/** Use other settings from now on; times in seconds. */
	configure({ interval, deadline }: {
		interval?: number;
		deadline?: number;
	}): void;
	start(): void;
	stop(): void;
	/** Note a sign of life; any frame is one. */
	noteLife(): void;
	/** Test the connection after a possible change of the network, with a short wait for the answer. */
	startDoubt(): void;
	/** Learn from a lost connection: the next one must not be quiet for as long. */
	noteLoss(): void;
}
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
export type Preparation = {
	repair: null;
} | {
	repair: Repair;
	reason: StatusReason;
	retryAfter?: number | null;
};
declare class Connection {
	#private;
	status: Status;
	reason: StatusReason | null;
	/** Callbacks for every frame, for the debug panel. */
	readonly watchers: Set<(direction: "sent" | "received", frame: object) => void>;
	/** Carrier of the last attachment; null before the first one. */
	transport: Carrier | null;
	/** Callbacks for the moment when frames can be sent. */
	readonly attaching: Set<() => void>;
	readonly backoff: Backoff;
	readonly heartbeat: Heartbeat;
	constructor(env: Environment, port: ConnectionPort, stats: Stats);
	get connected(): boolean;
	/** Aborted when the client is closed. Its record may belong to another page then, so nothing may start again. */
	get closed(): AbortSignal;
	get isHidden(): boolean;
	/** Connect. Resolves when the client is connected; rejects when the client gives up before that. */
	connect(): Promise<void>;
	/** Disconnect, and stay disconnected until `connect`, whatever happens to the page. */
	disconnect(): void;
	reconnect(): Promise<void>;
	close(): void;
	/** Release the connection, because the page is being left; it connects when the page comes back. */
	leavePage(): void;
	/** React to a change that the page saw: test a live connection, or begin the next attempt now. */
	checkLife(): void;
	configure(retry: Partial<RetryPolicy>, deadline?: number): void;
	/** Use the heartbeat settings of the server. */
	takeBeats(beats: Beats | undefined): void;
	/** Send a frame; return false without a connection. */
	sendFrame(frame: object): boolean;
	/** Send a frame with an id. `answer` receives the reply, the error or the pong; null if the attachment ends first. */
	askServer(frame: object, answer: (frame: ServerFrame | null) => void): boolean;
	/** Return the reason why the client will not reconnect by itself; null while it may. */
	readFailure(): SessionError | null;
	/** Stay disconnected, because nothing can be sent any more. */
	fail(reason: StatusReason): void;
	/** Drop this connection and reconnect, because its frames are not in order. */
	abandonLink(name?: string): void;
	/** Drop this connection and reconnect, because it belongs to another session. */
	leaveSession(): void;
}
/** Present settings of a connection; times in seconds. */
export interface ConnectionSettings {
	interval: number;
	missedLimit: number;
	batch: number;
	deadline: number;
}
export interface Sessions extends Pick<SessionRequests, keyof SessionRequests> {
}
export declare class Sessions {
	#private;
	/** `ended`: called when the session of this client has been terminated. */
	constructor(rest: Rest, credentials: Credentials, emitter: Emitter<SessionEvents>, ended: () => Promise<void>);
	/** Call `listener` for every event in the log of this session. */
	onSessionEvent(listener: (type: EventType, data: Json, entry: SessionEntry) => void): Unsubscribe;
}
export declare class Auth {
	#private;
	constructor(rest: Rest, credentials: Credentials, sessions: Sessions, emitter: Emitter<SessionEvents>);
	/** Bearer token. It is a secret, so send it in headers only. Throws `no_token` if a cookie proves the session. */
	get token(): string;
	/**
	 * Return the headers that prove the session. If a cookie proves it, they are the CSRF token and the name of the
	 * session.
	 */
	headers(): Record<string, string>;
	/**
	 * Request a token with only these scopes, for a frame or a worker that needs no more. It cannot be refreshed. Rejects
	 * with `scope_missing` if the session lacks a scope, and with `no_token` if a cookie proves the session.
	 */
	narrow(scopes: readonly string[], options?: {
		expiresIn?: number;
	}): Promise<NarrowedToken>;
	validate(permission?: string): Promise<Validation>;
	/** Call `listener` when the token is no longer valid: let the user log in, then start again. */
	onAuthRequired(listener: (data: Json, entry: SessionEntry) => void): Unsubscribe;
}
export interface ApplicationTypes {
	/** Value of the document `main`. */
	state?: unknown;
	/** Values of other documents by their names. */
	documents?: object;
	/** Publications by the patterns of their topics, such as `orders:{pk}`. */
	topics?: object;
	/** Messages that handlers take (`in`) and their answers (`out`); a union of pairs if there are several. */
	send?: {
		in: unknown;
		out: unknown;
	};
}
/** Application that declares no types: every value is any JSON. */
export interface AnyApplication {
	state: Json;
	documents: Json;
	topics: Json;
	send: {
		in: Json;
		out: Json;
	};
}
export type IsAny<T> = 0 extends 1 & T ? true : false;
/** Declared type of a member of the application; `Json` if it is not declared. */
export type TypeOf<A, Name extends keyof ApplicationTypes> = A extends Record<Name, infer T> ? T : Json;
export type DocumentOf<A, Name extends string> = Name extends "main" ? TypeOf<A, "state"> : IsAny<TypeOf<A, "documents">> extends true ? Json : Name extends keyof TypeOf<A, "documents"> ? TypeOf<A, "documents">[Name] : Json;
declare const NO_PLACE: unique symbol;
export type NoPlace = typeof NO_PLACE;
/** Value at a path; `Json` if the path is escaped, deeper than eight, or not a literal. */
export type ValueAt<S, Path extends string> = IsAny<S> extends true ? Json : string extends Path ? Json : Path extends "" ? S : Path extends `${string}~${string}` ? Json : Path extends `/${infer Tokens}` ? Walk<S, Tokens, [
	1,
	1,
	1,
	1,
	1,
	1,
	1,
	1
]> : NoPlace;
export type Walk<S, Tokens extends string, Left extends unknown[]> = Left extends [
	unknown,
	...infer Others
] ? Tokens extends `${infer Token}/${infer Rest}` ? Walk<TypeOfMember<S, Token>, Rest, Others> : TypeOfMember<S, Tokens> : Json;
export type TypeOfMember<S, Token extends string> = IsAny<S> extends true ? Json : S extends NoPlace ? NoPlace : S extends undefined | null ? undefined : S extends readonly (infer Item)[] ? Token extends "-" | `${number}` ? Item : NoPlace : S extends object ? TypeOfObjectMember<S, Token> : NoPlace;
export type TypeOfObjectMember<S, Token extends string> = Token extends keyof S ? S[Token] : Token extends `${infer Index extends number}` ? Index extends keyof S ? S[Index] : NoPlace : NoPlace;
/** The path, if the document has such a place; for a union, if one of its members has it. */
export type Place<S, Path extends string> = NoPlace extends ValueAt<S, Path> ? [
	Present<S, Path>
] extends [
	never
] ? never : Path : Path;
/** Value at a path if it is present. */
export type Present<S, Path extends string> = Exclude<ValueAt<S, Path>, NoPlace | undefined>;
/** Result of reading a path; undefined if nothing is written there yet. */
export type Read<S, Path extends string> = Path extends "" ? S extends object ? Partial<S> : S : Exclude<ValueAt<S, Path>, NoPlace> | undefined;
/** Value that may be written at a path. */
export type Written<S, Path extends string> = IsAny<ValueAt<S, Path>> extends true ? Json : Present<S, Path>;
/** The path, if the place holds a number. */
export type NumberPlace<S, Path extends string> = IsAny<ValueAt<S, Path>> extends true ? Path : Present<S, Path> extends number | null ? Place<S, Path> : never;
/** Operations whose paths and values fit the document. */
export type OperationsOn<S, Given extends readonly Operation[]> = {
	[At in keyof Given]: OperationOn<S, Given[At]>;
};
export type OperationOn<S, Given> = Given extends readonly [
	"set" | "ins",
	infer Path extends string,
	unknown
] ? readonly [
	Given[0],
	Place<S, Path>,
	Written<S, Path>
] : Given extends readonly [
	"inc",
	infer Path extends string,
	number
] ? readonly [
	"inc",
	NumberPlace<S, Path>,
	number
] : Given extends readonly [
	"del" | "obj",
	infer Path extends string
] ? readonly [
	Given[0],
	Place<S, Path>
] : Given;
/** Publications of a topic. Of several patterns that fit, the one with the longest literal part counts. */
export type PublicationOf<T, Topic extends string> = IsAny<T> extends true ? Json : string extends Topic ? Json : T[Best<Fitting<T, Topic>> & keyof T];
/** The topic, if its publications have a declared type. */
export type KnownTopic<T, Topic extends string> = IsAny<T> extends true ? Topic : string extends Topic ? Topic : [
	Fitting<T, Topic>
] extends [
	never
] ? never : Topic;
export type Fitting<T, Topic extends string> = {
	[Pattern in keyof T & string]: Topic extends Opened<Pattern> ? Pattern : never;
}[keyof T & string];
/** Pattern as a template type: `orders:{pk}` matches every `orders:…`. */
export type Opened<Pattern extends string> = Pattern extends `${infer Before}{${string}}${infer After}` ? `${Before}${string}${Opened<After>}` : Pattern;
export type Best<Patterns extends string> = {
	[One in Patterns]: true extends {
		[Other in Patterns]: IsLonger<Literal<Other>, Literal<One>>;
	}[Patterns] ? never : One;
}[Patterns];
/** Characters of a pattern outside of its placeholders, as a tuple. */
export type Literal<Pattern extends string> = Pattern extends `${infer Before}{${string}}${infer After}` ? [
	...Characters<Before>,
	...Literal<After>
] : Characters<Pattern>;
export type Characters<Text extends string, Counted extends unknown[] = [
]> = Text extends `${string}${infer Rest}` ? Characters<Rest, [
	...Counted,
	1
]> : Counted;
export type IsLonger<One extends unknown[], Other extends unknown[]> = One extends [
	...Other,
	unknown,
	...unknown[]
] ? true : false;
/** Message that a handler accepts. */
export type Sent<A> = SentBy<TypeOf<A, "send">>;
export type SentBy<S> = IsAny<S> extends true ? Json : S extends {
	in: infer In;
} ? In : never;
/** Answer of a handler to a message. */
export type Returned<A, Message> = ReturnedBy<TypeOf<A, "send">, Message>;
export type ReturnedBy<S, Message> = IsAny<S> extends true ? Json : S extends {
	in: infer In;
	out: infer Out;
} ? IsAny<In> extends true ? Out : Message extends In ? Out : never : never;
export interface WriteOptions {
	/** Abort to take the write back before it is sent. Later, aborting only ends the waiting for the answer. */
	signal?: AbortSignal;
}
export interface UpdateOptions extends WriteOptions {
	/** Strategy for a conflict with other writers; by default the client's strategy, else the document's own. */
	strategy?: Strategy;
	/** Refuse the whole update with `conflict` unless every operation takes effect. */
	atomic?: boolean;
}
export interface StatePort {
	sendUpdate(frame: () => UpdateFrame, signal: AbortSignal | undefined): Promise<ReceiptFrame>;
	callServer: CallDocument;
	syncDocument(): Promise<void>;
	readLimits(): ValueLimits;
	/** Strategy of updates that name none. */
	strategy: Strategy | undefined;
	schema: Schema | undefined;
}
export interface StateDocument<S = Json> extends Pick<DocumentRequests, keyof DocumentRequests> {
}
export declare class StateDocument<S = Json> {
	#private;
	readonly name: string;
	constructor(name: string, replica: Replica, port: StatePort);
	/** Newest version that this client has seen. */
	get version(): number;
	get position(): Position | null;
	/** True while the value is the local copy (option `cache`) and the server has not yet sent the changes since. */
	get fromCache(): boolean;
	/** Number of updates without an answer of the server. */
	get pending(): number;
	/**
	 * Return the value at a path (RFC 6901), including unanswered writes; undefined if there is none. Do not modify it.
	 */
	get(): Read<S, "">;
	get<const Path extends string>(path: Path & Place<S, Path>): Read<S, Path>;
	/** Call `listener` when the value at a path has changed, because of this client or of the server. */
	on<const Path extends string>(path: Path & Place<S, Path>, listener: Listener<Read<S, Path>>): Unsubscribe;
	set<const Path extends string>(path: Path & Place<S, Path>, value: Written<S, NoInfer<Path>>, options?: UpdateOptions): Promise<UpdateResult>;
	delete<const Path extends string>(path: Path & Place<S, Path>, options?: UpdateOptions): Promise<UpdateResult>;
	/** Add to a number. Concurrent additions of several clients all count. */
	inc<const Path extends string>(path: Path & NumberPlace<S, Path>, amount?: number, options?: UpdateOptions): Promise<UpdateResult>;
	/** Insert into an array before the index that ends the path; `-` appends. */
	insert<const Path extends string>(path: Path & Place<S, Path>, value: Written<S, NoInfer<Path>>, options?: UpdateOptions): Promise<UpdateResult>;
	/** Merge an object by RFC 7396: members of the patch replace others, null removes them. */
	merge(patch: JsonObject, options?: UpdateOptions): Promise<UpdateResult>;
	/** Replace the whole document. */
	replace(data: S, options?: UpdateOptions): Promise<UpdateResult>;
	/** Apply several operations as one version. */
	update<const Given extends readonly Operation[]>(operations: Given & OperationsOn<S, Given>, options?: UpdateOptions): Promise<UpdateResult>;
	/**
	 * Give the document its first value; do nothing if it was ever written. So default values never overwrite what
	 * another tab has written. A cleared document is not absent.
	 */
	createIfAbsent(data: S, options?: WriteOptions): Promise<UpdateResult>;
	/** Set the document to `{}`; this makes an ordinary new version. */
	clear(options?: UpdateOptions): Promise<UpdateResult>;
	/** Fetch missing changes over HTTP, without a connection. Resolves with the version. */
	sync(): Promise<number>;
	/** Return the size of the document in bytes as compact JSON. */
	size(): number;
	/**
	 * Return the SHA-256 of the value's RFC 8785 text, in hexadecimal. It is the server's checksum if the values are
	 * equal.
	 */
	checksum(): Promise<string>;
	getState(): Read<S, "">;
	getState<const Path extends string>(path: Path & Place<S, Path>): Read<S, Path>;
	updateState(patch: JsonObject, options?: UpdateOptions): Promise<UpdateResult>;
	syncState(): Promise<number>;
	clearState(options?: UpdateOptions): Promise<UpdateResult>;
	getStateSize(): number;
	onStateChange(listener: Listener<Read<S, "">>): Unsubscribe;
}
export interface ConnectionConfig extends Partial<RetryPolicy> {
	/** Seconds without a frame after which the connection counts as lost. */
	deadline?: number;
	/** Seconds between two beats of the server. */
	interval?: number;
	/** Number of beats that may be missed in a row. */
	missedLimit?: number;
	/** Seconds for which the server collects frames before it sends them together. */
	batch?: number;
}
export interface ControlsPort {
	send(data: Json, options?: WriteOptions): Promise<Json>;
	stats(): ClientStats;
}
export declare class ConnectionControls {
	#private;
	constructor(connection: Connection, emitter: Emitter<SessionEvents>, clock: Clock, port: ControlsPort);
	/** Connect. Resolves when the client is connected. */
	connect(): Promise<void>;
	/** Disconnect, and stay disconnected until `connect`. Writes wait meanwhile. */
	disconnect(): void;
	reconnect(): Promise<void>;
	isConnected(): boolean;
	send(data: Json, options?: WriteOptions): Promise<Json>;
	onMessage(listener: (data: Json, entry: SessionEntry) => void): Unsubscribe;
	getConnectionStats(): ClientStats;
	/** Request a sign of life from the server every `interval` seconds. Returns a function that ends it. */
	setupHeartbeat(interval?: number): Unsubscribe;
	stopHeartbeat(): void;
	/**
	 * Override settings that the server gives. `interval`, `missedLimit` and `batch` are requested from the server, now
	 * and on each later connection. Resolves with the settings in effect, or with null without a connection. Rejects with
	 * the allowed range if a value is outside it.
	 */
	setConnectionConfig(config: ConnectionConfig): Promise<ConnectionSettings | null>;
}
/** Connection, as a question uses it. */
export interface Askable {
	readonly connected: boolean;
	/** Callbacks for the next attachment. */
	readonly attaching: Set<() => void>;
	/** Ask; `answer` receives null if the connection ends first. Return false if there is no connection. */
	askServer(frame: object, answer: (reply: ServerFrame | null) => void): boolean;
}
/** How to continue if a reader is slow, which part of a log it wants, and where to begin without a position. */
export interface Wishes {
	slow?: string | undefined;
	filter?: object | undefined;
	since?: object | undefined;
}
/** Reader of a log. */
export interface Reader {
	/** Position that an earlier page reached. Null means from now on, and for a document everything. */
	readonly start: Position | null;
	readonly wishes?: Wishes;
	takeEntry(body: Json, position: Position): void;
	/** Called after the last entry of a frame. */
	endFrame?(): void;
	takeGap?(gap: Gap): void;
	/** Store the new position. Called before the reader receives the entry at that position. */
	moveTo?(position: Position | null): void;
	takeSnapshot?(data: Json): void;
	awaitSnapshot?(): void;
	/** Handle the server's verdict on the position, before the entries or the snapshot. */
	takeVerdict?(verdict: Verdict): void;
	/** Note that the server stores the document encrypted. */
	sealCopy?(): void;
	handleDenial?(error: SessionError): void;
}
export interface LogbookPort {
	clock: Clock;
	random: () => number;
	connection: Askable & {
		abandonLink(): void;
	};
	fetchDocument(url: string): Promise<{
		data: Json;
		position: Position;
	}>;
	/** Report why a large document could not be fetched. */
	tellFailed(log: string, error: SessionError): void;
	/** Report entries that the application does not receive. */
	tellRange<Event extends "gap" | "conflated">(event: Event, ...range: SessionEvents[Event]): void;
}
/** Verdict over HTTP, with the entries or the value that follow it on a connection. */
export interface SyncAnswer extends Verdict {
	entries?: EntriesFrame["entries"];
	data?: Json;
}
declare class Logbook {
	#private;
	constructor(port: LogbookPort);
	/** Follow a log from the start of the reader; if the log was left in the same turn, continue from its position. */
	followLog(name: string, reader: Reader): void;
	unfollowLog(name: string): void;
	position(name: string): Position | null;
	/** Return the `logs` of `connect`, and the options of their readers. */
	listWanted(): {
		logs: Record<string, Position | null>;
	} & {
		[wish: string]: Record<string, unknown>;
	};
	/** Return the position after which the next entries of a log must come; undefined if it is not followed. */
	findPlace(name: string): Position | null | undefined;
	/** Forget the positions in these logs, because another session begins. */
	forgetPlaces(listNames: readonly string[]): void;
	/** Ask for every log again, because the rights of another user apply now. */
	forgetDenials(): void;
	isDenied(name: string): boolean;
	names(): string[];
	attach(verdicts: Record<string, Verdict>): void;
	detach(): void;
	takeEntries(frame: EntriesFrame): void;
	takeGap(frame: GapFrame): void;
	/** Stop a log that the client may no longer read; its position stays. */
	takeDenial(name: string, error: SessionError): void;
	takeSnapshot(frame: SnapshotFrame): void;
	/** Handle the answer to `sync`; entries that arrived over the connection meanwhile stay. */
	takeSyncAnswer(name: string, answer: SyncAnswer): void;
}
/** Owner of records. The client never reads records of another owner. */
export type Owner = readonly [
	scope: string,
	user: string,
	session: string
];
export interface ClientRow {
	/** Key of the tab's record. */
	key: string;
	/** Name of the Web Lock that a tab must hold to number or send these writes. */
	lock: string;
	owner: Owner;
	/** Name that the server gave to the client; null if the tab was never connected. */
	client: string | null;
	/** Time of the last change. */
	at: number;
}
/** Writes to store, by number; null removes one. */
export type WriteChanges = ReadonlyMap<number, WriteFrame | null>;
declare class OutboxStore {
	#private;
	private constructor();
	/** Open the database, and remove what is too old. Rejects if the browser stores nothing there. */
	static open(env: Environment): Promise<OutboxStore>;
	/** List the other tabs of an owner that have waiting writes, the oldest first, with the number of these writes. */
	listWaiting(owner: Owner, own: string): Promise<[
		row: ClientRow,
		count: number
	][]>;
	readWrites(key: string): Promise<[
		seq: number,
		write: WriteFrame
	][]>;
	/** Return the row of a tab; undefined if no writes wait. */
	readRow(key: string): Promise<ClientRow | undefined>;
	readResults(key: string): Promise<Map<number, ReceiptFrame>>;
	/** Store the row and changed writes of a tab; remove the row if no writes wait. */
	save(row: ClientRow, changes: WriteChanges, hasWrites: boolean, ended: (error: unknown) => void): void;
	/** Mark the writes of a tab as adopted, and name its client. Resolves when that is stored. */
	markAdopted(row: ClientRow): Promise<void>;
	/** Return true if another tab has adopted these writes. */
	isAdopted(key: string): Promise<boolean>;
	/** Store the answer to an adopted write, for the tab that made it. */
	saveResult(key: string, seq: number, receipt: ReceiptFrame): void;
	/** Remove the row of a tab and all its records. */
	remove(key: string): void;
	close(): void;
}
/** Outboxes of this browser, as the tabs use them. */
export interface OutboxShelf {
	readonly store: OutboxStore;
	/** Return the copy of the outbox that `describe` names. Call `tellStored` when it has caught up, or is gone. */
	newMirror(describe: () => ClientRow, tellStored: (isGone: boolean) => void): Mirror;
}
declare class Mirror {
	#private;
	constructor(clock: Clock, store: OutboxStore, describe: () => ClientRow, tellStored: (isGone: boolean) => void);
	/** True if everything is stored. */
	get isComplete(): boolean;
	/** Store a write under its number; null removes it. */
	put(seq: number, write: WriteFrame | null): void;
	/** Store the row again, because the client has another name. */
	touch(): void;
	/**
	 * Send nothing before the store is up to date. This is needed when a stored number is given to another write: if the
	 * tab died in between, the tab that sends the stored write would repeat it under the number of the other one.
	 */
	guard(): void;
	/** Return true if sending must wait, and call `resume` later; false if it may go on now. */
	awaitStored(resume: () => void): boolean;
	/** Store the changes of this turn of the event loop. */
	flush(): void;
}
export interface RecordParts {
	env: Environment;
	/** Storage of the tab, under the names of the application, the session and the slot. */
	shelf: Shelf;
	/** Prefix of the names of locks. */
	scope: string;
	/** Null if nothing outlives the tab. */
	outboxes: OutboxShelf | null;
	/** First part of the owner of what is stored. */
	ownerScope: string;
	/** Called when the store is up to date with the tab, or has failed (`isGone`). */
	tellStored(isGone: boolean): void;
}
/** Store in a record what the storage has lost. */
export type Restore = (key: string, kept: Shelf, late: Shelf, isNamed: boolean) => Promise<void>;
declare class ClientRecord {
	#private;
	/** Number of the present attachment of the client. */
	generation: number;
	/** Number of the newest attach that may still arrive; not a number before the first answer. */
	latest: number;
	/** True while another page may have the record. */
	isAway: boolean;
	/** Number of times that the page was left. */
	leavings: number;
	/** First number that was given while another page could have the record. These numbers are not in the record. */
	lateFrom: number;
	private constructor();
	/**
	 * Open the record of this tab. If another tab has adopted its writes, begin anew with its positions. If the lock is
	 * held, this tab is a copy of the holder: only the holder sends the copied writes, and this tab is a new client.
	 * Throws `slot_taken` if the holder is another client of the same tab. Nothing that may belong to the holder is
	 * removed.
	 */
	static open(parts: RecordParts): Promise<ClientRecord>;
	get key(): string;
	get session(): string | null;
	get client(): string | null;
	get next(): number;
	set next(seq: number);
	/** Highest number that was ever sent. */
	get sent(): number;
	set sent(seq: number);
	/** True if every write would survive this tab. */
	get isDurable(): boolean;
	/** User of these writes; undefined if an earlier version stored them. */
	get user(): string | null | undefined;
	assignClient({ session_id: session, user_id: user }: SessionFields, client: string | null): void;
	/** Forget the user of the record, because the session has ended and no writes wait. */
	leaveSession(): void;
	/** Read the unanswered writes of an earlier page, in the order of their numbers. */
	readWrites(): [
		seq: number,
		write: WriteFrame
	][];
	/** Store a write in the tab, and, unless it is held, also where it outlives the tab. */
	storeWrite(seq: number, write: WriteFrame, held?: boolean): void;
	dropWrite(seq: number): void;
	/** Return true if sending must wait, because the store has other numbers; then `resume` is called later. */
	awaitStored(resume: () => void): boolean;
	/** Note that a stored number is given to another write. */
	guardNumbers(): void;
	readPosition(log: string): Position | null;
	setPosition(log: string, position: Position | null): void;
	/** Forget all positions, because the session of another user begins. */
	clearPositions(): void;
	/** Return true if another tab has adopted the writes of this tab. */
	isAdopted(): Promise<boolean>;
	/**
	 * Release the record, because the page may be left for another one. Until `reopen`, new writes are stored beside it.
	 */
	leave(): void;
	/**
	 * Open the record again, as other pages have left it; if another tab has adopted it, begin as a new client. It stays
	 * released if the page was left more than `leavings` times by then. Before the record is read, `restore` is called
	 * with its key, its shelf, that of late writes, and true if the storage named it.
	 */
	reopen(leavings: number, restore: Restore): Promise<void>;
	/** Store what changed, without waiting for the end of this turn. */
	flush(): void;
	releaseLock(): void;
}
export interface Topics<T = Json> extends Pick<TopicRequests, keyof TopicRequests> {
}
export declare class Topics<T = Json> {
	#private;
	constructor(logbook: Logbook, record: ClientRecord, stats: Stats, port: TopicsPort);
	/**
	 * Follow a topic. It begins at the position of `since`, else where this tab left the topic, else as `since` says,
	 * else with the next publication. A refusal is also reported as an `error` with `facts.topic`.
	 */
	subscribe<const Topic extends string>(topic: Topic & KnownTopic<T, Topic>, listener: TopicListener<PublicationOf<T, Topic>>, options?: SubscribeOptions<PublicationOf<T, NoInfer<Topic>>>): Subscription;
	/** Publish. Resolves with the position when the server has stored it; with null at once if it is ephemeral. */
	publish<const Topic extends string>(topic: Topic & KnownTopic<T, Topic>, data: PublicationOf<T, NoInfer<Topic>>, { key, ephemeral, signal }?: PublishOptions): Promise<Position | null>;
	/**
	 * Return the position after which the next publication comes; null if the topic is not followed, or has no position
	 * yet.
	 */
	position(topic: string): Position | null;
	onGap(listener: (gap: Gap) => void): Unsubscribe;
	/** Deliver the data of an `ephemeral` frame. */
	takeEphemeral(topic: string, data: Json): void;
	clearListeners(): void;
}
/** Session of this page. Make it with `SessionClient.start`. */
export declare class SessionClient<A extends ApplicationTypes = AnyApplication> {
	#private;
	readonly state: StateDocument<TypeOf<A, "state">>;
	readonly topics: Topics<TypeOf<A, "topics">>;
	readonly connection: ConnectionControls;
	readonly sessions: Sessions;
	readonly auth: Auth;
	/**
	 * Resume the client of this tab, or join the session of this browser, or create a session. Resolves without waiting
	 * for the connection. Rejects if the page needs a session and the server refuses it or does not answer, and with
	 * `slot_taken` if another client of this tab uses the same `slot`.
	 */
	static start<A extends ApplicationTypes = AnyApplication>(options?: StartOptions): Promise<SessionClient<A>>;
	/** Remove everything that this browser keeps for an address; no session is needed. Clients in open tabs end. */
	static forget(options?: Pick<StartOptions, "url" | "name"> & Surroundings): Promise<void>;
	private constructor();
	/** Id of the session; empty until the server has confirmed that this page may use the session. */
	get id(): string;
	/** Id that the server gave to the client of this tab; null before the first connection. */
	get clientId(): string | null;
	get info(): SessionInfo;
	get status(): Status;
	/** Reason of the present status; null if no connection has ended. */
	get reason(): StatusReason | null;
	/** Number of writes without an answer, including those of closed tabs of this browser. */
	get pending(): number;
	/**
	 * Let the browser ask the user before the page is left while writes are unanswered. Returns a function that ends it.
	 */
	warnBeforeLeaving(): Unsubscribe;
	/** Call `callback` for each event of this type. Returns a function that ends the registration. */
	on<K extends keyof SessionEvents>(type: K, callback: (...args: SessionEvents[K]) => void): Unsubscribe;
	/** Call `callback` for the next event of this type only. */
	once<K extends keyof SessionEvents>(type: K, callback: (...args: SessionEvents[K]) => void): Unsubscribe;
	/** End every registration of `callback` that `on` made; the function that `on` returned ends one registration. */
	off<K extends keyof SessionEvents>(type: K, callback: (...args: SessionEvents[K]) => void): void;
	/** Call `callback` for each message that the server sends to this session. */
	onMessage(callback: (data: Json, entry: SessionEntry) => void): Unsubscribe;
	/**
	 * Call the server's message handler exactly once, also over lost connections and reloads. Resolves with its answer.
	 */
	send<const Message extends Sent<A>>(data: Message, { signal }?: WriteOptions): Promise<Returned<A, Message>>;
	/** Send the updates that delayed synchronisation has collected. */
	flush(): void;
	/** Return a named document; `main` is the same document as `state`. */
	document<const Name extends string>(name: Name): StateDocument<DocumentOf<A, Name>>;
	/**
	 * Continue after a login without a page load, in the session that the server names. Rejects if the server refuses.
	 */
	login({ user }?: {
		user?: string | number | null;
	}): Promise<void>;
	/**
	 * End the session, before a logout: send unanswered writes for at most 2 s, then remove everything from this browser.
	 */
	logout(): Promise<void>;
	/** Remove the local copies of this session from the browser, and keep no more of them; for a logout button. */
	clearCache(): Promise<void>;
	/** List all documents of the session, without their data. */
	documents(): Promise<DocumentHead[]>;
	stats(): ClientStats;
	/**
	 * Show a panel over the page with what this client does: frames, positions, outbox and verdicts, but no tokens.
	 * Resolves with a function that removes the panel.
	 */
	debug(): Promise<Unsubscribe>;
	/**
	 * End this object: none of its callbacks, timers and listeners is left. Unanswered writes stay for the next start in
	 * this tab.
	 */
	close(): void;
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
	readonly LOGIN_CHECK: 4006;
	readonly CONNECT_TIMEOUT: 4008;
	readonly UNAVAILABLE: 4013;
	readonly TOO_MANY_REQUESTS: 4029;
	readonly CONNECTION_LIMIT: 4030;
	readonly SILENT_SERVER: 4102;
	readonly OUT_OF_ORDER: 4104;
	readonly INVALID_FRAME: 4500;
	readonly INVALID_TOKEN: 4501;
	readonly SESSION_TERMINATED: 4503;
	readonly SESSION_EXPIRED: 4504;
	readonly UNSUPPORTED_VERSION: 4506;
	readonly REPLACED: 4507;
	readonly CLIENT_FORGOTTEN: 4508;
	readonly ORIGIN_DENIED: 4509;
};
/** Changes since the last event. A moved row is in `moved`, and also in `changed` if its content changed. */
export interface PagesChange<Row> {
	inserted: Row[];
	changed: Row[];
	/** Primary keys as text. */
	removed: string[];
	/** Primary keys as text. */
	moved: string[];
}
/** State of the list: the same object until something changes, and never modified. */
export interface PagesShown<Row> {
	/** Rows in the order of the view. An unchanged row is the same object as before. */
	readonly rows: readonly Row[];
	/** Number of rows that may be new, and that only the server can place; `refresh()` shows them. */
	readonly more: number;
	readonly hasNext: boolean;
	/** True while a page is being read. */
	readonly isLoading: boolean;
	/** Error that stopped the reading. If it is `temporary`, the client tries again by itself. */
	readonly error: SessionError | null;
}
export interface PagesOptions {
	/** Function to use instead of the page's `fetch`. */
	fetch?: (url: string, init: RequestInit) => Promise<Response>;
	/** More headers for each request. */
	headers?: Record<string, string>;
}
export interface Pages<Row> extends PagesShown<Row> {
	readonly shown: PagesShown<Row>;
	/** Call `callback` once for each group of changes. */
	on(type: "change", callback: (change: PagesChange<Row>) => void): Unsubscribe;
	/** Read the next page. Resolves when it is shown, or if there is none. Rejects with the error, or with `closed`. */
	loadNext(): Promise<void>;
	/** Read the shown pages again, also after an error. Resolves when that is done. */
	refresh(): Promise<void>;
	/** End the list: its requests, callbacks and subscriptions end. */
	close(): void;
}

export {};
