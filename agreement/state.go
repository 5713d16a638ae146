package agreement

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"
)

// StateVersion is the version of State as it is stored.
const StateVersion = 1

// Phase is where an agreement stands on this node. The numbers are stored and
// never change their meaning.
type Phase uint8

// The phases. Every one that isn't final has a deadline: see State.NextTick
// and State.NextBlockTime.
const (
	None          Phase = 0  // not known here yet
	Executing     Phase = 1  // proposer: runs the contract on its own copy
	Preparing     Phase = 2  // proposer: builds the transaction body
	Collecting    Phase = 3  // proposer: waits for attestations and co-signatures
	Broadcasting  Phase = 4  // proposer: the transaction is out, not yet in a block
	Fetching      Phase = 10 // party: gets module and objects that it lacks
	Verifying     Phase = 11 // party: runs the contract on its own copy
	Checking      Phase = 12 // party: checks the transaction body, asks the policy
	Deciding      Phase = 13 // party: waits for a person
	Assented      Phase = 14 // party: attested; waits for the chain
	Vetting       Phase = 15 // party: has run nothing; waits for its affiliate's consent to the contract
	Recalling     Phase = 16 // on chain, and lost here: asks the others for the terms
	Closing       Phase = 20 // given up, but a body that was signed can still commit
	Indexing      Phase = 21 // on chain; the records go into store and index
	Acknowledging Phase = 22 // on chain and indexed; acknowledgements are under way
	Complete      Phase = 30
	FailedPhase   Phase = 31
)

var phaseNames = map[Phase]string{
	None: "none", Executing: "executing", Preparing: "preparing", Collecting: "collecting",
	Broadcasting: "broadcasting", Fetching: "fetching", Verifying: "verifying", Checking: "checking",
	Deciding: "deciding", Assented: "assented", Vetting: "vetting", Recalling: "recalling", Closing: "closing", Indexing: "indexing",
	Acknowledging: "acknowledging", Complete: "complete", FailedPhase: "failed",
}

// String names the phase as the API does.
func (p Phase) String() string { return phaseNames[p] }

// PhaseNames lists the names of all phases, in the order of their numbers.
func PhaseNames() []string {
	var names []string
	for _, p := range slices.Sorted(maps.Keys(phaseNames)) {
		if p != None {
			names = append(names, phaseNames[p])
		}
	}
	return names
}

// Final reports whether nothing can happen to the agreement any more.
func (p Phase) Final() bool { return p == Complete || p == FailedPhase }

// Participant is what this node knows of one affiliate's part.
type Participant struct {
	Party
	Delivered    bool   `json:"delivered,omitempty"` // it has the proposal
	Attested     bool   `json:"attested,omitempty"`
	Cosigned     uint32 `json:"cosigned,omitempty"` // last round whose body it co-signed
	Acknowledged bool   `json:"acknowledged,omitempty"`
	Refused      Code   `json:"refused,omitempty"`
	Reason       string `json:"reason,omitempty"`
}

// Body is a transaction body that this node proposed or co-signed.
type Body struct {
	Round   uint32 `json:"round"`
	Digest  Hash   `json:"digest"`  // SHA-256 of its bytes
	Timeout int64  `json:"timeout"` // unix nanoseconds, in the chain's time
}

// State is one agreement as this node sees it. It is stored as JSON.
type State struct {
	Version      int            `json:"v"`
	ID           ID             `json:"id"`
	Self         string         `json:"self"`
	Proposer     string         `json:"proposer"`
	Phase        Phase          `json:"phase"`
	Terms        Hash           `json:"terms"` // digest
	Contract     Hash           `json:"contract"`
	ContractName string         `json:"contract_name"`
	Scope        UUID           `json:"scope"`
	NewScope     bool           `json:"new_scope,omitempty"`
	Participants []Participant  `json:"participants"` // proposer first
	Created      int64          `json:"created"`      // unix milliseconds, like the next four
	Updated      int64          `json:"updated"`
	Deadline     int64          `json:"deadline"`   // of agreeing
	AckWithin    int64          `json:"ack_within"` // milliseconds after the commit
	AckDeadline  int64          `json:"ack_deadline,omitempty"`
	Records      []RecordResult `json:"records,omitempty"` // what this node reached
	Results      Hash           `json:"results,omitempty"` // digest of this node's attestation
	Stated       Hash           `json:"stated,omitempty"`  // party: digest that the proposer attested
	StatedFail   bool           `json:"stated_fail,omitempty"`
	Bodies       []Body         `json:"bodies,omitempty"`        // all that this node signed or may have signed
	Offered      *Body          `json:"offered,omitempty"`       // party: body not yet checked
	OfferedRound uint32         `json:"offered_round,omitempty"` // party: last round that it was offered a body for
	NextRound    int64          `json:"next_round,omitempty"`    // proposer: not before, unix milliseconds
	BroadcastAt  int64          `json:"broadcast_at,omitempty"`  // unix milliseconds; 0 while the transaction is on its way to the chain
	Height       int64          `json:"height,omitempty"`
	TxHash       string         `json:"tx_hash,omitempty"`
	Code         Code           `json:"code,omitempty"` // why it failed or is about to
	Message      string         `json:"message,omitempty"`
	Cause        string         `json:"cause,omitempty"` // address of who caused it
	Missed       *Missed        `json:"missed,omitempty"`
}

// Missed is what the chain says of an agreement that this node has signed and
// then lost, as when an older backup was restored. Such an agreement is brought
// back: its terms come from the others, its records are made anew, and what
// proves both is that they hash to what the chain holds.
type Missed struct {
	Height  int64             `json:"height"`
	TxHash  string            `json:"tx_hash"`
	Records map[string]string `json:"records"` // record name to output hash
}

// Encode gives the stored form.
func (s State) Encode() ([]byte, error) { return json.Marshal(s) }

// DecodeState reads the stored form.
func DecodeState(b []byte) (State, error) {
	var s State
	if err := json.Unmarshal(b, &s); err != nil {
		return State{}, fmt.Errorf("decoding an agreement's state: %w", err)
	}
	if s.Version != StateVersion {
		return State{}, fmt.Errorf("an agreement's state has version %d, this program knows %d", s.Version, StateVersion)
	}
	return s, nil
}

// Proposing reports whether this node is the proposer.
func (s State) Proposing() bool { return s.Self == s.Proposer }

// HasTerms reports whether the terms are here: those of an agreement that was
// lost may still have to come, or never have.
func (s State) HasTerms() bool { return s.Terms != Hash{} }

// Others lists the addresses of all participants but this node.
func (s State) Others() []string {
	var out []string
	for _, p := range s.Participants {
		if p.Address != s.Self && !slices.Contains(out, p.Address) {
			out = append(out, p.Address)
		}
	}
	return out
}

// Body returns the newest body, if there is one.
func (s State) Body() (Body, bool) {
	if len(s.Bodies) == 0 {
		return Body{}, false
	}
	return s.Bodies[len(s.Bodies)-1], true
}

// Signed reports whether digest is a body that this node may have signed.
func (s State) Signed(digest Hash) bool {
	return slices.ContainsFunc(s.Bodies, func(b Body) bool { return b.Digest == digest })
}

// lastTimeout is the time of the chain after which none of the bodies that
// this node signed can commit any more, in unix nanoseconds; 0 if none.
func (s State) lastTimeout() int64 {
	var last int64
	for _, b := range s.Bodies {
		last = max(last, b.Timeout)
	}
	return last
}

// each applies f to every entry of an address; an affiliate may hold several roles.
func (s *State) each(address string, f func(*Participant)) bool {
	found := false
	for i := range s.Participants {
		if s.Participants[i].Address == address {
			f(&s.Participants[i])
			found = true
		}
	}
	return found
}

// all reports whether ok holds for every participant but this node.
func (s State) all(ok func(Participant) bool) bool {
	for _, p := range s.Participants {
		if p.Address != s.Self && !ok(p) {
			return false
		}
	}
	return true
}

// NextTick is when this node has to look at the agreement again by the wall
// clock; the zero time means never.
func (s State) NextTick() time.Time {
	var at int64
	switch s.Phase {
	case None, Closing, Indexing, Complete, FailedPhase:
		return time.Time{}
	case Acknowledging:
		at = s.AckDeadline
	case Broadcasting:
		if s.BroadcastAt == 0 {
			return time.Time{} // the effect is still at it, and the chain's time ends this
		}
		at = s.BroadcastAt + rebroadcastAfter.Milliseconds()
	case Collecting:
		at = s.Deadline
		if s.NextRound > 0 {
			at = min(at, s.NextRound)
		}
	default:
		at = s.Deadline
	}
	return time.UnixMilli(at)
}

// NextBlockTime is the time of the chain after which the agreement has to be
// looked at again; the zero time means never.
func (s State) NextBlockTime() time.Time {
	switch s.Phase {
	case Closing, Broadcasting:
		return time.Unix(0, s.lastTimeout())
	case Collecting:
		// Until all have assented, a body that has timed out needs no successor.
		if body, ok := s.Body(); ok && s.NextRound == 0 && s.all(func(p Participant) bool { return p.Attested }) {
			return time.Unix(0, body.Timeout)
		}
	}
	return time.Time{}
}
