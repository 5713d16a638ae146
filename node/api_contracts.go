package node

import (
	"context"
	"errors"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/affiliate-node/affiliate/agreement"
	affiliatev1 "github.com/affiliate-node/affiliate/api/affiliate/v1"
	"github.com/affiliate-node/affiliate/chainclient"
	"github.com/affiliate-node/affiliate/store"
)

// contractAPI implements ContractService.
type contractAPI struct{ n *Node }

// PublishContract stores a module and writes its specifications to the chain.
func (a contractAPI) PublishContract(ctx context.Context, req *connect.Request[affiliatev1.PublishContractRequest]) (*connect.Response[affiliatev1.PublishContractResponse], error) {
	c, tx, err := a.n.publish(ctx, req.Msg.Module)
	if err != nil {
		return nil, err
	}
	view, err := a.n.viewContract(c)
	return connect.NewResponse(&affiliatev1.PublishContractResponse{Contract: view, TxHash: tx}), err
}

// ListContracts lists what this node has published, fetched or been proposed.
func (a contractAPI) ListContracts(context.Context, *connect.Request[affiliatev1.ListContractsRequest]) (*connect.Response[affiliatev1.ListContractsResponse], error) {
	all, err := a.n.store.Contracts()
	if err != nil {
		return nil, err
	}
	out := &affiliatev1.ListContractsResponse{}
	for _, c := range all {
		view, err := a.n.viewContract(c)
		if err != nil {
			return nil, err
		}
		out.Contracts = append(out.Contracts, view)
	}
	return connect.NewResponse(out), nil
}

// GetContract finds one contract.
func (a contractAPI) GetContract(ctx context.Context, req *connect.Request[affiliatev1.GetContractRequest]) (*connect.Response[affiliatev1.Contract], error) {
	c, err := a.n.findContract(req.Msg.Contract)
	if agreement.CodeOf(err) != agreement.CodeUnknownContract || !req.Msg.Fetch {
		return a.answer(c, err)
	}
	hash, err := wholeHash(req.Msg.Contract)
	if err == nil {
		c, err = a.n.contractByHash(ctx, hash)
	}
	return a.answer(c, err)
}

// VetContract is the consent to run a contract.
func (a contractAPI) VetContract(ctx context.Context, req *connect.Request[affiliatev1.VetContractRequest]) (*connect.Response[affiliatev1.Contract], error) {
	var c store.Contract
	hash, err := wholeHash(req.Msg.Contract)
	if err == nil {
		c, err = a.n.vet(ctx, hash, req.Msg.Note)
	}
	return a.answer(c, err)
}

// UnvetContract takes it back.
func (a contractAPI) UnvetContract(ctx context.Context, req *connect.Request[affiliatev1.UnvetContractRequest]) (*connect.Response[affiliatev1.Contract], error) {
	c, err := a.n.findContract(req.Msg.Contract)
	if err == nil {
		err = a.n.unvet(ctx, c.Hash)
	}
	return a.answer(c, err)
}

func (a contractAPI) answer(c store.Contract, err error) (*connect.Response[affiliatev1.Contract], error) {
	if err != nil {
		return nil, err
	}
	view, err := a.n.viewContract(c)
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(view), nil
}

// wholeHash wants all digits: what is consented to, or asked of strangers, must
// not depend on what else is known here.
func wholeHash(text string) (agreement.Hash, error) {
	hash, err := agreement.ParseHash(text)
	if err != nil {
		return hash, agreement.Errorf(agreement.CodeBadRequest, "%q isn't the whole hash of a contract", text).
			WithHint("a name is only what a module says of itself; `affiliate contract show NAME` prints the hash of a contract that is here")
	}
	return hash, nil
}

func (n *Node) viewContract(c store.Contract) (*affiliatev1.Contract, error) {
	out := &affiliatev1.Contract{
		Hash: c.Hash.String(), Name: c.Name, Version: c.Version, Manifest: c.Manifest,
		SpecificationId: chainclient.ContractSpecAddress(agreement.ContractSpecificationID(c.Hash)),
		ModuleHash:      c.Module[:], ModuleSize: c.Size, Pinned: n.cfg.Policy.pins(c.Hash),
	}
	v, err := n.store.Vetting(c.Hash)
	if err == nil {
		out.VettedSince, out.VettingNote = timestamppb.New(v.Since), v.Note
	}
	out.Vetted = err == nil || out.Pinned
	if errors.Is(err, agreement.ErrNotFound) {
		err = nil
	}
	return out, err
}
