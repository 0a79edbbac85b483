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
/** JSON values: their equality, the rules of PROTOCOL section 3 for what may be sent, and safe access to members. */
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
	/** Forget all entries up to an offset. */
	trim(upTo?: number): void;
	/** Lose the history: begin another epoch. */
	restart(): void;
	entriesAfter(offset: number): Entry[];
	/** Return the newest entries before a place, or of all, as `history` tells them. */
	listPast(before: Position | null, limit?: number): object;
	judgePosition(asked: Position | null, since?: Json): Verdict;
	protected makeGap(from: number | null, reason: string): Verdict;
	/** Return the frames that follow a verdict, before live entries. */
	listReplay(verdict: Verdict): object[];
	gapFrame(from: number, to: number): GapFrame;
}
declare class FakeDocument extends FakeLog {
	value: Json;
	/** Address of the body, if snapshots are to be fetched. */
	url: string | null;
	/** True if the server stores it encrypted. */
	encrypted: boolean;
	readonly labels: Map<string, number>;
	/** Conflicts of `conflicts/`; with `keep` = `client` the whole document becomes `client`. */
	readonly conflicts: Json[];
	/** Return the value at a version; undefined if it is not there. */
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
/** Pairs of tokens of one session of the fake server, refused and told again as PROTOCOL section 14 says. */
export interface FakePair {
	access: string;
	refresh: string;
}
declare class FakeTokens {
	#private;
	/** Seconds for which an access token counts. */
	life: number;
	constructor(makeName: (prefix: string) => string);
	/** Newest access token. */
	get access(): string;
	get pair(): FakePair;
	/** Fields of an answer that brings tokens. */
	get fields(): object;
	/** Revoke everything and begin a family. */
	begin(): FakePair;
	revoke(): void;
	/** Give a cookie that counts for so many seconds; the one before counts on. */
	giveCookie(life: number): string;
	isKnown(access: string): boolean;
	isExpired(access: string): boolean;
	/** Let every access token that was given be too old, whatever the clock says. */
	expireAll(): void;
	/** Return true if this refresh token proves its session. */
	proves(refresh: string): boolean;
	isPastHalf(): boolean;
	/** Return false if the token was copied, or is unknown. */
	exchange(refresh: string, nonce: string): boolean;
}
/** What the fake server reaches a client by. */
export interface FakeWire {
	/** Deliver a frame from the server. */
	deliver(frame: object): void;
	/** End it from the server's side or the network's. */
	drop(code?: number): void;
}
export interface FakeClient {
	id: string;
	generation: number;
	lastSeq: number;
	receipts: Map<number, ReceiptFrame>;
	/** What was written under each number, apart from its base. */
	contents: Map<number, string>;
	wire: FakeWire | null;
	follows: Set<string>;
}
declare class FakeSession {
	readonly id: string;
	user: string | null;
	state: SessionFields["state"];
	/** Its token stands alone. */
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
/** What the page's cookies say, and how the project is set up. */
export interface FakeLogin {
	/** User who is logged in; null for nobody. */
	user: string | null;
	/** The login was ended from elsewhere. */
	isEnded: boolean;
	onLogin: "claim" | "fresh" | "ask";
	onLogout: "end" | "anonymous";
	/** Visitors get sessions. */
	anonymous: boolean;
	/** How pages prove their sessions. */
	tokenMode: "bearer" | "cookie";
}
declare class FakeJar {
	#private;
	/** Token against forgery; a page asks for it, since it reads no cookie either. */
	csrf: string;
	/** Return the secret of a page's session, by the page's name. */
	find(name: string | null | undefined): string | undefined;
	keep(name: string | null | undefined, secret: string): void;
	/** Return true if another site could have made this request as well. */
	isForged(method: string, headers: Headers): boolean;
}
export type Frame = {
	type: string;
	[field: string]: Json;
};
export interface FakeHttpPort {
	/** Attach as over a socket: `connected` or `bye` comes by the wire. */
	connect(wire: FakeWire, frame: Frame): void;
	takeFrame(wire: FakeWire, frame: Frame): void;
	leave(wire: FakeWire): void;
	findLog(session: FakeSession, name: string): FakeLog | null;
}
export type CallName = "connections" | "poll" | "frames" | "leave";
declare class FakeHttp {
	#private;
	/** Streams are refused. */
	refusesStreams: boolean;
	/** Something on the way holds back what has not ended. */
	isBuffered: boolean;
	/** Answers that are lost on their way, by call; their effects happen. */
	readonly lost: Partial<Record<CallName, number>>;
	/** Calls that never arrive, by call. */
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
	/** Answer a call; null if it is none of a connection. */
	answer(path: string, init: RequestInit, session: FakeSession | undefined, proof: {
		token?: string;
		auth?: string;
		name?: string | null;
	}): Promise<Response | null>;
}
export interface FakePeer {
	/** Return false to leave it unopened; `begin` may open it later. */
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
	/** Nothing passes, and nobody is told. */
	cut: boolean;
	open: boolean;
	closedWith: number | null;
	constructor(url: string, protocols: string[], peer: FakePeer);
	/** Open it to a peer that hears nothing. */
	beginDeaf(): void;
	/** Open it. */
	begin(): void;
	send(text: string): void;
	close(code?: number): void;
	/** Deliver a frame from the server. */
	deliver(frame: object): void;
	/** End it from the server's side or the network's. */
	drop(code?: number): void;
}
export interface FakeServerOptions {
	/** Answer what a client sends. */
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
	/** Values of topics that have one, by the topic's name. */
	readonly values: Map<string, any>;
	readonly denied: Set<string>;
	/** Topics that have no room now. */
	readonly crowded: Set<string>;
	/** Frames that clients have sent, the newest last. */
	readonly received: Frame$1[];
	readonly requests: string[];
	readonly sockets: FakeSocket[];
	/** Effects happen, but their receipts are lost. */
	swallowReceipts: boolean;
	/** Recoveries are completed. */
	recovers: boolean;
	/** Whose login the browser's cookies prove; may be changed at any time. */
	readonly login: FakeLogin;
	/** Cookies of the browser, which proves sessions by them if `login.tokenMode` is `cookie`. */
	readonly jar: FakeJar;
	/** Answers of the next calls about identity that are lost on their way; their effects happen. */
	lostAnswers: number;
	/**
	 * What happens to sockets on their way: they open after so many milliseconds, are refused, never open, or open and let
	 * nothing pass.
	 */
	readonly network: {
		sockets: "open" | "refused" | "silent" | "swallowed";
		openAfter: number;
	};
	/** No request is answered. */
	offline: boolean;
	/** Status with which the portal of a network answers everything; 0 without one. */
	portal: number;
	/** Fields of `connected` beside the fixed part, such as `retry` or `limits`. */
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
	/** Add these fields to the next receipts of writes that take effect, one each. */
	report(...reports: Partial<ReceiptFrame>[]): void;
	/** Refuse the next numbered writes with these errors, one each. */
	refuse(...errors: ErrorFields[]): void;
	/** Answer the next openings of known clients as if another connection of theirs had taken over. */
	replaceNext(openings: number): void;
	/** Let another attach of every client arrive, of which nobody will hear. */
	overtake(): void;
	/** Send a frame to every client, true to the protocol or not. */
	broadcast(frame: object): void;
	/** Take the right to a topic away from everybody who follows it. */
	deny(topic: string): void;
	/** Break every connection; new ones are accepted. */
	drop(code?: number): void;
	/** Let nothing pass, and tell nobody; connections that exist never work again. */
	cut(): void;
	mend(): void;
	bye(code: number, retryAfter?: number | null, reason?: string): void;
	forgetClients(): void;
	expire(): void;
	/** End the session; a server that learned of the end by itself gives no `reason`. */
	terminate(reason?: string): void;
}
export declare class FakeChannels {
	#private;
	/** Decides about each message to each tab whether it is lost. */
	loses: () => boolean;
	/** Return the constructor of one tab; `run` does, or does not do, what comes to it. */
	forTab(run?: (task: () => void) => void): new (name: string) => ChannelLike;
}
export type Options = Parameters<LocksLike["request"]>[1];
export type Callback = Parameters<LocksLike["request"]>[2];
export declare class FakeLocks implements LocksLike {
	#private;
	request(name: string, options: Options, callback: Callback, owner?: object): Promise<unknown>;
	/** Release everything that a tab holds or waits for: it has ended. */
	releaseAll(owner: object): void;
	isHeldBy(name: string, owner: object): boolean;
}

export {};
