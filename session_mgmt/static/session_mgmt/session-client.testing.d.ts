/*! session_mgmt browser client 0.1.0, BSD-3-Clause. Built from session_mgmt/js; do not edit. */
/** Storage that never fails: values that the browser refuses stay in memory, and the application is told once. */
/** Members of the web's `Storage` that the client uses. */
export interface StoreLike {
	readonly length: number;
	key(index: number): string | null;
	getItem(key: string): string | null;
	setItem(key: string, value: string): void;
	removeItem(key: string): void;
}
export declare class MemoryStore implements StoreLike {
	#private;
	get length(): number;
	key(index: number): string | null;
	getItem(key: string): string | null;
	setItem(key: string, value: string): void;
	removeItem(key: string): void;
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
/** JSON values: equality, the rules of PROTOCOL section 3 for sent values, and safe access to members. */
export type Json = any;
export type JsonObject = {
	[key: string]: Json;
};
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
export type Entry = [
	offset: number,
	tag: string,
	body: Json
];
declare class FakeLog {
	#private;
	readonly name: string;
	epoch: string;
	entries: Entry[];
	head: number;
	constructor(name: string);
	get position(): Position;
	positionAt(offset: number): Position;
	appendEntry(body: Json): Entry;
	/** Remove all entries up to an offset. */
	trim(upTo?: number): void;
	/** Lose the history: begin another epoch. */
	restart(): void;
	entriesAfter(offset: number): Entry[];
	/** Return the newest entries before a position, or of the whole log, as a reply to `history`. */
	listPast(before: Position | null, limit?: number): object;
	judgePosition(asked: Position | null, since?: Json): Verdict;
	protected makeGap(from: number | null, reason: string): Verdict;
	/** Return the frames between a verdict and the live entries. */
	listReplay(verdict: Verdict): object[];
	gapFrame(from: number, to: number): GapFrame;
}
declare class FakeDocument extends FakeLog {
	value: Json;
	/** Address of the body, if clients must fetch snapshots. */
	url: string | null;
	/** True if the server stores the document encrypted. */
	encrypted: boolean;
	readonly labels: Map<string, number>;
	/** Answer of `conflicts/`. Resolving with `keep` = `client` sets the whole document to `client`. */
	readonly conflicts: Json[];
	/** Return the value at a version; undefined if the log does not have it. */
	valueAt(version: number): Json | undefined;
	applyWrite(ops: readonly Operation[], author?: {
		client_id?: string;
		seq?: number;
	}): Entry;
	restart(): void;
	judgePosition(asked: Position | null): Verdict;
	protected makeGap(_from: number | null, reason: string): Verdict;
	listReplay(verdict: Verdict): object[];
	makeSnapshot(reason?: string): SnapshotFrame;
}
/** Token pairs of one session of the fake server, refused and repeated as PROTOCOL section 14 says. */
export interface FakePair {
	access: string;
	refresh: string;
}
declare class FakeTokens {
	#private;
	/** Seconds for which an access token is valid. */
	life: number;
	constructor(makeName: (prefix: string) => string);
	/** Newest access token. */
	get access(): string;
	get pair(): FakePair;
	/** Fields of an answer that contains tokens. */
	get fields(): object;
	/** Revoke all tokens, and begin a new family. */
	begin(): FakePair;
	revoke(): void;
	/** Issue a cookie that is valid for so many seconds; the one before stays valid. */
	giveCookie(life: number): string;
	isKnown(access: string): boolean;
	isExpired(access: string): boolean;
	/** Treat every issued access token as expired, whatever the clock says. */
	expireAll(): void;
	/** Return true if this refresh token proves its session. */
	proves(refresh: string): boolean;
	isPastHalf(): boolean;
	/** Exchange a refresh token; return false if it was copied or is unknown. */
	exchange(refresh: string, nonce: string): boolean;
}
/** Way from the fake server to a client. */
export interface FakeWire {
	/** Deliver a frame from the server. */
	deliver(frame: object): void;
	/** End the wire, as the server or the network does. */
	drop(code?: number): void;
}
export interface FakeClient {
	id: string;
	generation: number;
	lastSeq: number;
	receipts: Map<number, ReceiptFrame>;
	/** Content of each numbered write, without its base. */
	contents: Map<number, string>;
	wire: FakeWire | null;
	follows: Set<string>;
}
declare class FakeSession {
	readonly id: string;
	user: string | null;
	state: SessionFields["state"];
	/** True if its token cannot be refreshed. */
	isLegacy: boolean;
	isRecoverable: boolean;
	successor: FakeSession | null;
	readonly tokens: FakeTokens;
	readonly log: FakeLog;
	readonly documents: Map<string, FakeDocument>;
	readonly clients: Map<string, FakeClient>;
	constructor(id: string, user: string | null, makeName: (prefix: string) => string);
	/** Newest access token. */
	get token(): string;
	document(name: string): FakeDocument;
	newClient(id: string): FakeClient;
	fields(): SessionFields;
}
/** State of the page's cookies, and settings of the project. */
export interface FakeLogin {
	/** User who is logged in; null for nobody. */
	user: string | null;
	/** True if the login was ended from elsewhere. */
	isEnded: boolean;
	onLogin: "claim" | "fresh" | "ask";
	onLogout: "end" | "anonymous";
	/** True if visitors get sessions. */
	anonymous: boolean;
	/** Kind of proof that pages use. */
	tokenMode: "bearer" | "cookie";
}
declare class FakeJar {
	#private;
	/** CSRF token; a page requests it, because it can read no cookie. */
	csrf: string;
	/** Return the secret of the session of a page, by the page's name. */
	find(name: string | null | undefined): string | undefined;
	keep(name: string | null | undefined, secret: string): void;
	/** Return true if another site could have sent this request. */
	isForged(method: string, headers: Headers): boolean;
}
export type Frame = {
	type: string;
	[field: string]: Json;
};
export interface FakeHttpPort {
	/** Attach as over a socket; the wire gets `connected` or `bye`. */
	connect(wire: FakeWire, frame: Frame): void;
	takeFrame(wire: FakeWire, frame: Frame): void;
	leave(wire: FakeWire): void;
	findLog(session: FakeSession, name: string): FakeLog | null;
}
export type CallName = "connections" | "poll" | "frames" | "leave";
declare class FakeHttp {
	#private;
	/** Refuse streams. */
	refusesStreams: boolean;
	/** Hold back every answer that has not ended, as a buffering proxy does. */
	isBuffered: boolean;
	/** Number of answers to lose, by call. The effects of these calls happen. */
	readonly lost: Partial<Record<CallName, number>>;
	/** Number of calls that never arrive, by call. */
	readonly missed: Partial<Record<CallName, number>>;
	/** Refusals of the next calls. */
	readonly refusals: Partial<Record<CallName, {
		status: number;
		name: string;
		close: number | null;
		retry_after?: number;
	}[]>>;
	/** Bodies of the calls that arrived. */
	readonly calls: [
		name: CallName,
		body: Json
	][];
	constructor(port: FakeHttpPort);
	/** Answer a call; return null if it is not a call of a connection. */
	answer(path: string, init: RequestInit, session: FakeSession | undefined, proof: {
		token?: string;
		auth?: string;
		name?: string | null;
	}): Promise<Response | null>;
}
export interface FakePeer {
	/** Return false to leave the socket unopened; `begin` can open it later. */
	handleOpen(socket: FakeSocket): boolean;
	handleText(socket: FakeSocket, text: string): void;
	handleClose(socket: FakeSocket): void;
}
declare class FakeSocket implements SocketLike, FakeWire {
	#private;
	readonly url: string;
	readonly protocols: string[];
	onopen: SocketLike["onopen"];
	onmessage: SocketLike["onmessage"];
	onclose: SocketLike["onclose"];
	onerror: SocketLike["onerror"];
	/** True if nothing passes and no side is told. */
	cut: boolean;
	open: boolean;
	closedWith: number | null;
	constructor(url: string, protocols: string[], peer: FakePeer);
	/** Open the socket to a peer that receives nothing. */
	beginDeaf(): void;
	/** Open the socket. */
	begin(): void;
	send(text: string): void;
	close(code?: number): void;
	/** Deliver a frame from the server. */
	deliver(frame: object): void;
	/** End the socket, as the server or the network does. */
	drop(code?: number): void;
}
export interface FakeServerOptions {
	/** Return the answer to a message of a client. */
	onMessage?: (data: Json) => Json;
}
type Frame$1 = {
	type: string;
	[field: string]: Json;
};
export declare class FakeServer {
	#private;
	readonly WebSocket: SocketClass;
	readonly fetch: Fetch;
	readonly sessions: FakeSession[];
	readonly topics: Map<string, FakeLog>;
	/** Members of topics by the name of their presence, such as `presence:chat`. */
	readonly present: Map<string, Map<string, any>>;
	/** Values of topics, by the name of the topic. */
	readonly values: Map<string, any>;
	readonly denied: Set<string>;
	/** Topics that are temporarily refused with `busy`. */
	readonly crowded: Set<string>;
	/** Frames that clients have sent, the newest one last. */
	readonly received: Frame$1[];
	readonly requests: string[];
	readonly sockets: FakeSocket[];
	/** Lose all receipts; the effects of the writes happen. */
	swallowReceipts: boolean;
	/** True if recoveries are completed. */
	recovers: boolean;
	/** Login that the cookies of the browser prove; it may be changed at any time. */
	readonly login: FakeLogin;
	/** Cookies of the browser; they prove sessions if `login.tokenMode` is `cookie`. */
	readonly jar: FakeJar;
	/** Number of answers to lose, of the next calls about identity. The effects of these calls happen. */
	lostAnswers: number;
	/**
	 * Behaviour of new sockets: they open after `openAfter` milliseconds, are refused, never open, or open and pass no
	 * frame.
	 */
	readonly network: {
		sockets: "open" | "refused" | "silent" | "swallowed";
		openAfter: number;
	};
	/** Answer no request. */
	offline: boolean;
	/** Status with which a portal of the network answers everything; 0 for no portal. */
	portal: number;
	/** More fields for `connected`, such as `retry` or `limits`. */
	settings: Record<string, Json>;
	/** Connections over HTTP. */
	readonly http: FakeHttp;
	constructor({ onMessage }?: FakeServerOptions);
	get session(): FakeSession;
	get connected(): number;
	topic(name: string): FakeLog;
	publish(topic: string, data: Json): Position;
	/** Change a document as the server itself. */
	write(operations: Operation[], name?: string): Position;
	message(data: Json): void;
	event(type: string, data: Json): void;
	/** Add these fields to the next receipts of successful writes, one each. */
	report(...reports: Partial<ReceiptFrame>[]): void;
	/** Refuse the next numbered writes with these errors, one each. */
	refuse(...errors: ErrorFields[]): void;
	/** Answer the next connects of known clients as if another connection had replaced them. */
	replaceNext(openings: number): void;
	/** Let another attach of every client arrive, and lose its answer. */
	overtake(): void;
	/** Send a frame to every client; it may break the protocol. */
	broadcast(frame: object): void;
	/** Take the right to a topic away from all clients that follow it. */
	deny(topic: string): void;
	/** Break every connection; new ones are accepted. */
	drop(code?: number): void;
	/** Pass nothing more on the present connections, and tell no client. They never work again. */
	cut(): void;
	mend(): void;
	bye(code: number, retryAfter?: number | null, reason?: string): void;
	forgetClients(): void;
	expire(): void;
	/** End the session. A server that found the end by itself gives no `reason`. */
	terminate(reason?: string): void;
}
export declare class FakeChannels {
	#private;
	/** Decide for each message and receiving tab whether the message is lost. */
	loses: () => boolean;
	/** Return the constructor for one tab. `run` runs the delivery of a message, or drops it. */
	forTab(run?: (task: () => void) => void): new (name: string) => ChannelLike;
}
export type Options = Parameters<LocksLike["request"]>[1];
export type Callback = Parameters<LocksLike["request"]>[2];
export declare class FakeLocks implements LocksLike {
	#private;
	request(name: string, options: Options, callback: Callback, owner?: object): Promise<unknown>;
	/** Release everything that a tab holds or waits for, because the tab has ended. */
	releaseAll(owner: object): void;
	isHeldBy(name: string, owner: object): boolean;
}

export {};
