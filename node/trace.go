package node

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/affiliate-node/affiliate/agreement"
	affiliatev1 "github.com/affiliate-node/affiliate/api/affiliate/v1"
	"github.com/affiliate-node/affiliate/exec"
)

// traceVersion is the version of Trace as a document.
const traceVersion = 1

// Limits of the contents in a trace, in bytes.
const (
	maxTracedValue   = 1 << 20  // of one value; of a larger one the beginning is shown
	maxTracedContent = 16 << 20 // of all together
)

// TraceAgreement executes an agreement's contract once more, and shows what it does.
func (a agreementAPI) TraceAgreement(ctx context.Context, req *connect.Request[affiliatev1.TraceAgreementRequest]) (*connect.Response[affiliatev1.Trace], error) {
	s, err := a.n.knownAgreement(req.Msg.AgreementId)
	if err != nil {
		return nil, err
	}
	out, err := a.n.trace(ctx, s, req.Msg.Content)
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(out), nil
}

// trace needs what executing needs, all of it from the store; it writes
// nothing there.
func (n *Node) trace(ctx context.Context, s agreement.State, content bool) (*affiliatev1.Trace, error) {
	t, err := n.termsOf(s)
	if err != nil {
		return nil, err
	}
	if err := n.mustBeVetted(t.contract); err != nil {
		return nil, err
	}
	if err := n.mustHold(&t); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, effectTimeout)
	defer cancel()
	select {
	case n.tracing <- struct{}{}:
		defer func() { <-n.tracing }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	c, err := n.contract(ctx, t.contract, agreement.Hash(t.Module.ContentHash))
	if err != nil {
		return nil, err
	}
	run, err := n.inputs(ctx, &t)
	if err != nil {
		return nil, err
	}
	run.Trace = true
	outputs, err := n.engine.Execute(ctx, c, run)
	if agreement.CodeOf(err) == agreement.CodeExecutionTimeout {
		return nil, agreement.Errorf(agreement.CodeExecutionTimeout, "tracing: %w", err).
			WithHint("try again when the node has less to do, or raise exec.timeout")
	}
	if err != nil {
		return nil, err
	}
	return n.tracedRun(s, &t, c, run, outputs, content)
}

// mustHold wants everything that the contract reads, and its module, in the
// store, and names what isn't there.
func (n *Node) mustHold(t *terms) error {
	var missing []string
	look := func(what string, ref *affiliatev1.ObjectRef) error {
		hash := agreement.Hash(ref.GetContentHash())
		objects, err := n.store.ObjectsByContent(hash)
		if err == nil && len(objects) == 0 {
			missing = append(missing, fmt.Sprintf("%s (content %s)", what, hash))
		}
		return err
	}
	if err := look("the contract's module", t.Module); err != nil {
		return err
	}
	for _, in := range t.Inputs {
		if err := look("the input "+in.Name, in.Object); err != nil {
			return err
		}
	}
	for _, in := range t.Existing {
		if err := look("the existing record "+in.Name, in.Object); err != nil {
			return err
		}
	}
	if len(missing) == 0 {
		return nil
	}
	return agreement.Errorf(agreement.CodeNotFound, "agreement %s can't be traced here: this node lacks %s; it never came, or has been removed",
		t.id, short(strings.Join(missing, ", "))).
		WithHint("trace it on the node of a party that has it")
}

// tracedRun writes a run down.
func (n *Node) tracedRun(s agreement.State, t *terms, c *exec.Contract, run exec.Run, outputs []exec.Output, content bool) (*affiliatev1.Trace, error) {
	v := valueTracer{}
	if content {
		v.room = maxTracedContent
	}
	out := &affiliatev1.Trace{
		Version: traceVersion, AgreementId: s.ID.String(), Network: t.Network, Affiliate: n.ring.Address(),
		Engine: n.engine.Version(), Platform: platform,
		ContractHash: c.Hash.String(), ContractName: c.Manifest.Name, ContractVersion: c.Manifest.Version,
		ModuleHash: c.ModuleHash.String(), TermsDigest: t.digest.String(), Time: timestamppb.New(run.Time),
	}
	for _, in := range t.Inputs {
		out.Values = append(out.Values, v.traced(valueInput, in.Name, in.Hash, in.Object.MediaType, run.Proposed[in.Name]))
	}
	for _, in := range t.Existing {
		out.Values = append(out.Values, v.traced(valueExisting, in.Name, in.Hash, in.Object.MediaType, run.Existing[in.Name]))
	}
	for _, name := range slices.Sorted(maps.Keys(run.Context)) {
		out.Values = append(out.Values, v.traced(valueContext, name, "", "", run.Context[name]))
	}
	var results []agreement.RecordResult
	for _, o := range outputs {
		r, _, err := resultOf(t, c.Manifest, o)
		if err != nil {
			return nil, err
		}
		if !o.Condition || o.Outcome == agreement.Fail {
			results = append(results, r)
		}
		f := tracedFunction(o, r)
		if o.Outcome == agreement.Pass && !o.Condition {
			f.Output = v.traced(valueRecord, r.Record, r.Output, mediaTypeOf(o.Function.Record.MediaType), o.Content)
		}
		out.Functions = append(out.Functions, f)
	}
	out.ResultsDigest = agreement.AttestationDigest(n.cfg.Network, t.id, t.contract, t.digest, results).String()
	var err error
	out.Statements, err = n.statements(s, t, results)
	return out, err
}

// valueTracer shows values, with contents while there is room for them.
type valueTracer struct{ room int }

func (v *valueTracer) traced(kind, name, chainHash, mediaType string, content []byte) *affiliatev1.TracedValue {
	shown := content[:min(len(content), maxTracedValue, v.room)]
	v.room -= len(shown)
	return &affiliatev1.TracedValue{
		Kind: kind, Name: name, Size: int64(len(content)), ContentHash: digestOf(content).String(),
		ChainHash: chainHash, MediaType: mediaType, Content: shown,
	}
}

func tracedFunction(o exec.Output, r agreement.RecordResult) *affiliatev1.TracedFunction {
	f := &affiliatev1.TracedFunction{
		Name: r.Function, Condition: o.Condition, Record: r.Record, Outcome: affiliatev1.Outcome(r.Outcome),
		Code: r.Code, Message: r.Message, Fuel: r.Fuel, Log: o.Log, CallCount: o.CallCount,
	}
	for _, h := range o.Calls {
		f.Calls = append(f.Calls, &affiliatev1.HostCall{
			Function: h.Function, Value: strings.ToValidUTF8(h.Value, "?"), Args: h.Args, Result: h.Result, Fuel: h.Fuel,
		})
	}
	return f
}
