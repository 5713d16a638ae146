package node

import (
	"context"

	"connectrpc.com/connect"

	affiliatev1 "github.com/affiliate-node/affiliate/api/affiliate/v1"
)

// keyAPI implements KeyService.
type keyAPI struct{ n *Node }

// RotateEncryption makes a new encryption identity.
func (a keyAPI) RotateEncryption(ctx context.Context, _ *connect.Request[affiliatev1.RotateEncryptionRequest]) (*connect.Response[affiliatev1.Rotation], error) {
	if err := a.n.rotate(ctx); err != nil {
		return nil, err
	}
	return connect.NewResponse(viewRotation(a.n.rotation())), nil
}

// GetRotation says how far a rotation is.
func (a keyAPI) GetRotation(context.Context, *connect.Request[affiliatev1.GetRotationRequest]) (*connect.Response[affiliatev1.Rotation], error) {
	return connect.NewResponse(viewRotation(a.n.rotation())), nil
}

func viewRotation(r rotationStatus) *affiliatev1.Rotation {
	out := &affiliatev1.Rotation{
		Running: r.Running, Objects: r.Objects, Done: r.Done, Problem: r.Problem, OldUntil: unixOrNil(r.OldUntil),
	}
	for _, id := range r.Identities {
		out.Identities = append(out.Identities, &affiliatev1.EncryptionIdentity{
			Number: int32(id.Number), Created: unixOrNil(id.Created), Recipient: id.Recipient, //nolint:gosec // a few
		})
	}
	return out
}
