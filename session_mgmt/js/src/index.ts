/** Public names of the browser client of session_mgmt. */

export { SessionClient } from "./client";
export type { CacheOptions, CreateOptions, StartOptions, VisitorDocument } from "./options";
export type { SyncOptions } from "./batch";
export type { TokenMode } from "./credentials";
export { SessionError, type ErrorFields } from "./errors";
export { CLOSE } from "./codes";
export { EVENT_TYPES } from "./events";
export type { AdoptedReport, CacheReport, ConflictReport, EventType, Gap, SessionEntry, SessionEvents } from "./events";
export type { EndReport, IdentityReport, PendingReport, Status, StatusReason, UnsentWrite } from "./events";
export type { Auth, NarrowedToken } from "./auth";
export type { ConnectionConfig, ConnectionControls } from "./controls";
export type { Device } from "./devices";
export type { Unsubscribe } from "./emitter";
export type { Clock, Surroundings } from "./environment";
export type { Conflict, Position, PublishFrame, RecoveryReceipt, SendFrame, Strategy } from "./frames";
export type { SuccessorReceipt, UpdateFrame, WriteFrame } from "./frames";
export type { SessionInfo } from "./info";
export type { Operation } from "./operations";
export type { Checkpoint, ClientState, DocumentHead, DocumentSizes, HistoryEntry, HistoryOptions } from "./past";
export type { HistoryPage, Keep, KeptConflict, PatchOperation, UpdateResult } from "./past";
export type { Change, Listener } from "./replica";
export type { CreatedSession, RecoveredSession, Sessions, Validation } from "./sessions";
export type { ConflictOptions, RestoreOptions, StateDocument, UpdateOptions, WriteOptions } from "./state";
export type { ClientStats } from "./stats";
export type { StoreLike } from "./storage";
export type { PublicationPlace, PublishOptions, TopicListener, Topics } from "./topics";
export type { Json, JsonObject } from "./values";
