package agreement

import (
	"errors"
	"fmt"
	"strings"
)

// Category says what to do about an error.
type Category string

// The categories.
const (
	Retry       Category = "retry"        // the same request may work later
	FixRequest  Category = "fix_request"  // the request is wrong as it stands
	AskPeer     Category = "ask_peer"     // another affiliate has to act
	AskOperator Category = "ask_operator" // this node's operator has to act
)

// Code is a stable name for what went wrong; the API, the CLI, the log and a
// peer's refusal carry the same one.
type Code string

// The codes, with the category of each in categories.
const (
	CodeBadRequest        Code = "BAD_REQUEST"
	CodeBadJSON           Code = "BAD_JSON"
	CodeNotFound          Code = "NOT_FOUND"
	CodeUnknownContract   Code = "UNKNOWN_CONTRACT"
	CodeUnknownRole       Code = "UNKNOWN_ROLE"
	CodeUnknownParty      Code = "UNKNOWN_PARTY"
	CodeMissingInput      Code = "MISSING_INPUT"
	CodeUnexpectedInput   Code = "UNEXPECTED_INPUT"
	CodeMissingRecord     Code = "MISSING_RECORD"
	CodeSchema            Code = "SCHEMA_VIOLATION" // by an input or an existing record
	CodeTooLarge          Code = "TOO_LARGE"
	CodeBadModule         Code = "BAD_MODULE"
	CodeBadManifest       Code = "BAD_MANIFEST"
	CodeExecution         Code = "EXECUTION_FAILED"
	CodeExecutionTimeout  Code = "EXECUTION_TIMEOUT"
	CodeWrongPhase        Code = "WRONG_PHASE"
	CodeNotAMember        Code = "NOT_A_MEMBER"
	CodeBadSignature      Code = "BAD_SIGNATURE"
	CodeWrongNetwork      Code = "WRONG_NETWORK"
	CodeBadMessage        Code = "BAD_MESSAGE"
	CodeNotAuthorized     Code = "NOT_AUTHORIZED"
	CodePeerUnreachable   Code = "PEER_UNREACHABLE"
	CodePeerRefused       Code = "PEER_REFUSED"
	CodeBackpressure      Code = "PEER_BACKPRESSURE"
	CodeDamaged           Code = "DAMAGED"
	CodeStore             Code = "STORE_FAILED"
	CodeDiskFull          Code = "DISK_FULL" // or the quota or budget that stands for it
	CodeChainUnreachable  Code = "CHAIN_UNREACHABLE"
	CodeChainMismatch     Code = "CHAIN_MISMATCH"
	CodeChainRefused      Code = "CHAIN_REFUSED"
	CodeSpecification     Code = "SPECIFICATION_MISMATCH"
	CodeBodyMismatch      Code = "BODY_MISMATCH"
	CodeContractFail      Code = "CONTRACT_FAIL"
	CodeRejected          Code = "REJECTED"
	CodeDiverged          Code = "DIVERGED"
	CodeCancelled         Code = "CANCELLED"
	CodeExpired           Code = "EXPIRED"
	CodeCommittedMismatch Code = "COMMITTED_MISMATCH"
	CodeInUse             Code = "IN_USE"
	CodeNotVetted         Code = "NOT_VETTED"      // by this affiliate
	CodePeerNotVetted     Code = "PEER_NOT_VETTED" // by another one
	CodeInternal          Code = "INTERNAL"
)

var categories = map[Code]Category{
	CodeBadRequest: FixRequest, CodeBadJSON: FixRequest, CodeSchema: FixRequest, CodeNotFound: FixRequest,
	CodeUnknownContract: FixRequest, CodeUnknownRole: FixRequest, CodeUnknownParty: FixRequest,
	CodeMissingInput: FixRequest, CodeUnexpectedInput: FixRequest, CodeMissingRecord: FixRequest,
	CodeTooLarge: FixRequest, CodeBadModule: FixRequest, CodeBadManifest: FixRequest,
	CodeExecution: AskOperator, CodeExecutionTimeout: Retry, CodeWrongPhase: FixRequest,
	CodeNotAMember: AskOperator, CodeBadSignature: AskPeer, CodeWrongNetwork: AskOperator,
	CodeBadMessage: AskPeer, CodeNotAuthorized: AskPeer, CodePeerUnreachable: Retry,
	CodePeerRefused: AskPeer, CodeBackpressure: Retry, CodeDamaged: AskOperator,
	CodeStore: AskOperator, CodeDiskFull: AskOperator, CodeChainUnreachable: Retry, CodeChainMismatch: AskOperator,
	CodeChainRefused: AskOperator, CodeSpecification: AskPeer, CodeBodyMismatch: AskPeer,
	CodeContractFail: FixRequest, CodeRejected: AskPeer, CodeDiverged: AskPeer,
	CodeCancelled: AskPeer, CodeExpired: AskPeer, CodeCommittedMismatch: AskOperator,
	CodeInUse: AskOperator, CodeNotVetted: FixRequest, CodePeerNotVetted: AskPeer, CodeInternal: AskOperator,
}

// CategoryOf returns the category of a code; one that isn't ours needs the
// operator.
func CategoryOf(c Code) Category {
	if cat, ok := categories[c]; ok {
		return cat
	}
	return AskOperator
}

// Error is the one error that crosses a boundary of the node: to the API, to
// a peer, into an agreement's history.
type Error struct {
	Code Code
	Text string // what is wrong, one line
	Hint string // what to do, one line; may be empty
	Err  error  // cause; may be nil
}

// Errorf makes an Error. A %w among the arguments becomes the cause; of a
// cause that is an Error itself the text is quoted without its code, and the
// hint is kept.
func Errorf(code Code, format string, args ...any) *Error {
	wrapped := fmt.Errorf(format, args...)
	e := &Error{Code: code, Text: wrapped.Error(), Err: errors.Unwrap(wrapped)}
	var inner *Error
	if errors.As(e.Err, &inner) {
		e.Text = strings.Replace(e.Text, inner.Error(), inner.Text, 1)
		e.Hint = inner.Hint
	}
	return e
}

// WithHint returns e with the advice of what to do.
func (e *Error) WithHint(format string, args ...any) *Error {
	c := *e
	c.Hint = fmt.Sprintf(format, args...)
	return &c
}

// Error gives the code and the text.
func (e *Error) Error() string { return string(e.Code) + ": " + e.Text }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// CodeOf finds the code of an error, CodeInternal if it has none.
func CodeOf(err error) Code {
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return CodeInternal
}

// Retryable reports whether the same work may succeed later.
func Retryable(err error) bool {
	var e *Error
	return errors.As(err, &e) && CategoryOf(e.Code) == Retry
}
