package agreement

import (
	"fmt"
	"time"
)

// Explanation says, for people, where an agreement stands.
type Explanation struct {
	Summary    string
	WaitingFor []string
	Actions    []string // what somebody can do
}

// Explain reads a state for people.
func Explain(s State) Explanation {
	var x Explanation
	t := turn{s: s}
	switch s.Phase {
	case Executing, Verifying:
		x.Summary = "This node runs the contract on its own copy of the data."
		x.WaitingFor = []string{"this node"}
	case Preparing:
		x.Summary, x.WaitingFor = "This node builds the transaction; it needs the chain for that.", []string{"this node", "the chain"}
	case Collecting:
		x.WaitingFor = t.missing(func(p Participant) bool { return p.Attested })
		x.Summary = fmt.Sprintf("Waiting for the answer of %d affiliate(s).", len(x.WaitingFor))
		if len(x.WaitingFor) == 0 {
			body, _ := s.Body()
			x.WaitingFor = t.missing(func(p Participant) bool { return p.Cosigned == body.Round })
			x.Summary = fmt.Sprintf("All have attested; waiting for %d co-signature(s).", len(x.WaitingFor))
		}
		x.Actions = []string{"wait until the deadline", "affiliate agreement cancel " + s.ID.String()}
	case Broadcasting:
		x.Summary, x.WaitingFor = "The transaction is out and in no block yet.", []string{"the chain"}
	case Fetching:
		x.Summary = "This node fetches and checks what it lacks."
		x.WaitingFor = []string{s.Proposer, "the chain"}
	case Vetting:
		x = explainVetting(s)
	case Recalling:
		x = explainRecalling(s)
	case Checking:
		x.Summary = "This node checks the transaction and asks its policy."
		x.WaitingFor = []string{"this node", "the chain"}
	case Deciding:
		x.Summary = "The result is the same here. A person has to decide."
		x.WaitingFor = []string{"you"}
		x.Actions = []string{
			"affiliate agreement show " + s.ID.String() + " (lists the data; affiliate object get HASH opens it)",
			"affiliate agreement approve " + s.ID.String(),
			"affiliate agreement reject " + s.ID.String() + " --reason WHY",
		}
	case Assented:
		x.Summary = "This affiliate has agreed; the proposer has to bring it to the chain."
		x.WaitingFor = []string{s.Proposer, "the chain"}
	case Closing:
		x.Summary = fmt.Sprintf("Given up (%s), but a transaction that this node signed can still commit until %s of the chain's time.",
			s.Code, s.NextBlockTime().UTC().Format(time.TimeOnly))
		x.WaitingFor = []string{"the chain"}
	case Indexing:
		x.Summary = "On chain. This node takes the records into its store and index."
		x.WaitingFor = []string{"this node"}
	case Acknowledging:
		x.Summary = "On chain and indexed here."
		x.WaitingFor = t.missing(func(p Participant) bool { return p.Acknowledged })
	case Complete:
		x.Summary = fmt.Sprintf("Complete: on chain at height %d, indexed and acknowledged.", s.Height)
	case FailedPhase:
		x.Summary = fmt.Sprintf("Failed: %s%s: %s", s.Code, by(s), s.Message)
		if s.Code == CodeDiverged {
			x.Actions = compareTraces(s)
		}
		x.Actions = append(x.Actions, advice(s))
	}
	return x
}

// explainVetting is for who has to consent before anything runs.
func explainVetting(s State) Explanation {
	return Explanation{
		Summary:    fmt.Sprintf("Contract %s isn't vetted here: this node runs it only once this affiliate has consented.", s.Contract),
		WaitingFor: []string{"you"},
		Actions: []string{
			"affiliate contract show --fetch " + s.Contract.String() + " (what it says of itself)",
			"affiliate contract vet " + s.Contract.String(),
			"affiliate agreement reject " + s.ID.String() + " --reason WHY",
		},
	}
}

func explainRecalling(s State) Explanation {
	return Explanation{
		Summary:    fmt.Sprintf("On chain since height %d, signed by this affiliate, and lost by this node: it asks the others for it.", s.Missed.Height),
		WaitingFor: s.Others(),
		Actions:    []string{"affiliate peers (is one of them connected?)"},
	}
}

// by names who ended an agreement, where it was somebody's decision.
func by(s State) string {
	switch {
	case s.Cause == "" || s.Cause == s.Self && s.Code != CodeRejected && s.Code != CodeCancelled:
		return ""
	case s.Cause == s.Self:
		return " by this affiliate"
	}
	return " by " + s.Cause
}

// compareTraces is how two parties find out where their executions part.
func compareTraces(s State) []string {
	other := s.Cause
	if other == s.Self || other == "" {
		other = s.Proposer
	}
	return []string{
		fmt.Sprintf("affiliate agreement trace %s --output json > here.json", s.ID),
		fmt.Sprintf("have %s do the same on its node, and send the file: there.json", other),
		"affiliate agreement trace-diff here.json there.json (the first difference)",
	}
}

func advice(s State) string {
	category := CategoryOf(s.Code)
	switch {
	case category == AskOperator && (s.Cause == s.Self || s.Cause == ""):
		return "ask this node's operator: see the log"
	case !s.Proposing():
		return "nothing: " + s.Proposer + " may propose again"
	case s.Code == CodeCancelled:
		return "nothing: propose again if it is wanted after all"
	case category == FixRequest:
		return "change the request and propose again"
	case category == Retry:
		return "propose again later"
	case s.Cause != "" && s.Cause != s.Self:
		return "ask " + s.Cause + ", then propose again"
	}
	return "ask the affiliates that were waited for, then propose again"
}
