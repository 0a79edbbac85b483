"""Errors that calls of one kind have in common, for the OpenAPI document."""

from __future__ import annotations

from session_mgmt.exceptions import (
    Conflict,
    DocumentLimit,
    DocumentNotFound,
    DocumentTooLarge,
    EpochChanged,
    ForbiddenKey,
    InvalidPatch,
    InvalidPath,
    KeyReused,
    KeyTooLong,
    NotFound,
    NumberOutOfRange,
    PatchFailed,
    PreconditionFailed,
    PublicationTooLarge,
    StateUnreadable,
    StringTooLong,
    TooDeep,
    TooHeavy,
    TooManyKeys,
    TooManyOps,
    TooOld,
    UnknownVersion,
)

VALUE_ERRORS = (TooDeep, TooManyKeys, KeyTooLong, StringTooLong, NumberOutOfRange, ForbiddenKey)
PUBLICATION_ERRORS = (PublicationTooLarge, *VALUE_ERRORS)
DOCUMENT_ERRORS = (DocumentNotFound, StateUnreadable)
PAST_ERRORS = (*DOCUMENT_ERRORS, NotFound)
WRITE_ERRORS = (
    *DOCUMENT_ERRORS,
    *VALUE_ERRORS,
    *(InvalidPatch, InvalidPath, TooManyOps, TooHeavy, DocumentTooLarge, DocumentLimit),
    *(PatchFailed, Conflict, EpochChanged, UnknownVersion, TooOld),
    *(PreconditionFailed, KeyReused),
)
