package agreement

import "time"

// Event is something that happened and that an agreement may react to. Each
// is checked (signatures, membership, hashes) before it becomes an Event.
type Event interface{ event() }

// Opening is what both sides know of an agreement from its terms.
type Opening struct {
	ID           ID
	Self         string
	Terms        Hash
	Contract     Hash
	ContractName string
	Scope        UUID
	NewScope     bool
	Participants []Party // proposer first
	Deadline     time.Time
	AckWithin    time.Duration
}

// Events on the proposer's side.
type (
	// Submitted starts an agreement on its proposer.
	Submitted struct{ Opening }
	// BodyPrepared brings the body for a round of co-signing.
	BodyPrepared struct{ Body Body }
	// Delivered says that a peer durably holds a message.
	Delivered struct {
		To   string
		Kind EffectKind
		Via  string // "stream" or "gossip"
	}
	// Undeliverable says that a peer refused a message for good.
	Undeliverable struct {
		To   string
		Kind EffectKind
		Code Code
		Text string
	}
	// AssentReceived is a party's attestation, with its co-signature if Round isn't 0.
	AssentReceived struct {
		From       string
		Results    Hash
		Round      uint32
		Difference string // where Results are others than this node's: which, for people
	}
	// CosignatureReceived is a co-signature asked for after the first round.
	CosignatureReceived struct {
		From  string
		Round uint32
	}
	// RejectionReceived says that a party doesn't want the agreement.
	RejectionReceived struct {
		From   string
		Code   Code
		Reason string
	}
	// DivergenceReceived says that a party reached another result.
	DivergenceReceived struct {
		From string
		Text string
	}
	// BroadcastAccepted says that the chain took the transaction to its mempool.
	BroadcastAccepted struct{ TxHash string }
	// BroadcastRefused says that it didn't.
	BroadcastRefused struct {
		Code Code
		Text string
	}
	// AcknowledgementReceived is a party's word that it holds the records.
	AcknowledgementReceived struct{ From string }
	// CancelRequested comes from this node's own application or operator.
	CancelRequested struct{ Reason string }
)

// Events on a party's side.
type (
	// Proposed starts an agreement on a party.
	Proposed struct {
		Opening
		Stated     Hash // digest of the proposer's attestation
		StatedFail bool // the proposer's outcome is FAIL
		Offered    *Body
	}
	// DataReady says that module and objects are in the store and verified.
	DataReady struct{}
	// NotVetted says that this affiliate hasn't consented to run the contract.
	NotVetted struct{}
	// Vetted says that it has now.
	Vetted struct{}
	// Decided is the policy's answer after the body was checked.
	Decided struct{ Verdict Verdict }
	// Approved comes from a person.
	Approved struct{}
	// Declined comes from a person, or from a check that failed.
	Declined struct {
		Code   Code
		Reason string
	}
	// CosignRequested asks for a co-signature of another body.
	CosignRequested struct{ Body Body }
	// BodyChecked is the outcome of checking an offered body: no code if good.
	BodyChecked struct {
		Body   Body
		Code   Code
		Reason string
	}
	// CancellationReceived comes from the proposer.
	CancellationReceived struct {
		From   string
		Code   Code
		Reason string
		Cause  string
	}
)

// Events on both sides.
type (
	// Executed brings this node's own results.
	Executed struct {
		Records    []RecordResult
		Results    Hash   // digest of the attestation over them
		Difference string // from what the proposer stated, for people; empty where there is none
	}
	// Aborted says that this node can't do its part, for a reason of its own.
	Aborted struct {
		Code Code
		Text string
	}
	// Committed says that a transaction with this agreement's session is in a block.
	Committed struct {
		Body    Hash
		Height  int64
		TxHash  string
		Records map[string]string // record name to output hash
	}
	// TxFailed says that such a transaction is in a block and failed.
	TxFailed struct {
		Body   Hash
		Height int64
		TxHash string
		Text   string
	}
	// BlockTime says that all blocks up to this time have been worked through.
	BlockTime struct{ Time time.Time }
	// Tick says that the wall clock has reached NextTick.
	Tick struct{}
	// Indexed says that the records are in store and index.
	Indexed struct{}
	// Lost says that the chain holds an agreement that this node has signed, and
	// doesn't know. Of the opening it has what the chain says.
	Lost struct {
		Opening
		Missed
	}
	// Recalled brings the terms of one that was lost.
	Recalled struct{ Opening }
)

// Verdict of a policy. The numbers are stored in effects.
type Verdict uint8

// The verdicts.
const (
	Approve Verdict = 1
	Ask     Verdict = 2
	Reject  Verdict = 3
)

func (Submitted) event()               {}
func (BodyPrepared) event()            {}
func (Delivered) event()               {}
func (Undeliverable) event()           {}
func (AssentReceived) event()          {}
func (CosignatureReceived) event()     {}
func (RejectionReceived) event()       {}
func (DivergenceReceived) event()      {}
func (BroadcastAccepted) event()       {}
func (BroadcastRefused) event()        {}
func (AcknowledgementReceived) event() {}
func (CancelRequested) event()         {}
func (Proposed) event()                {}
func (DataReady) event()               {}
func (NotVetted) event()               {}
func (Vetted) event()                  {}
func (Decided) event()                 {}
func (Approved) event()                {}
func (Declined) event()                {}
func (CosignRequested) event()         {}
func (BodyChecked) event()             {}
func (CancellationReceived) event()    {}
func (Executed) event()                {}
func (Aborted) event()                 {}
func (Committed) event()               {}
func (TxFailed) event()                {}
func (BlockTime) event()               {}
func (Tick) event()                    {}
func (Indexed) event()                 {}
func (Lost) event()                    {}
func (Recalled) event()                {}

// EffectKind says what to carry out. The numbers are stored.
type EffectKind uint8

// The effects. All are idempotent: they may be carried out more than once.
const (
	DoExecute           EffectKind = 1 // run the contract; Executed, NotVetted or Aborted
	DoPrepare           EffectKind = 2 // build a body for Effect.Round; BodyPrepared or Aborted
	DoFetch             EffectKind = 3 // module and objects; DataReady, NotVetted or Declined
	DoDecide            EffectKind = 4 // check the offered body, ask the policy; Decided or Declined
	DoCheckBody         EffectKind = 5 // check the offered body of a later round; BodyChecked
	DoBroadcast         EffectKind = 6 // BroadcastAccepted or BroadcastRefused
	DoIndex             EffectKind = 7 // Indexed
	DoRecall            EffectKind = 8 // terms from the others; Recalled
	SendProposal        EffectKind = 20
	SendAssent          EffectKind = 21
	SendDivergence      EffectKind = 22
	SendRejection       EffectKind = 23
	SendCosignRequest   EffectKind = 24
	SendCosignature     EffectKind = 25
	SendCancellation    EffectKind = 26
	SendAcknowledgement EffectKind = 27
	Notify              EffectKind = 40 // an entry of the durable event log
)

var effectNames = map[EffectKind]string{
	DoExecute: "execute", DoPrepare: "prepare", DoFetch: "fetch", DoDecide: "decide",
	DoCheckBody: "check body", DoBroadcast: "broadcast", DoIndex: "index", DoRecall: "recall",
	SendProposal: "proposal", SendAssent: "assent", SendDivergence: "divergence",
	SendRejection: "rejection", SendCosignRequest: "cosign request", SendCosignature: "cosignature",
	SendCancellation: "cancellation", SendAcknowledgement: "acknowledgement", Notify: "notify",
}

// String names the effect for people.
func (k EffectKind) String() string { return effectNames[k] }

// IsSend reports whether the effect is a message to a peer.
func (k EffectKind) IsSend() bool { return k >= SendProposal && k < Notify }

// Effect is something that the driver has to do.
type Effect struct {
	Kind   EffectKind
	To     string // of a send; of DoFetch and DoExecute on a party: the proposer, who causes the work
	Round  uint32 // of DoPrepare, DoBroadcast, DoCheckBody, SendAssent, SendCosignRequest, SendCosignature
	Notice Notice // of Notify
}

// Notice is an entry of the durable event log.
type Notice struct {
	Step int    // 1 to 10 where it is one of the ten steps, or 0
	Kind string // stable name, such as "executed"
	Peer string
	Code Code
	Text string
}
