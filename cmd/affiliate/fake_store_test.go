package main

import (
	"bytes"
	"context"
	"strings"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/affiliate-node/affiliate/agreement"
	affiliatev1 "github.com/affiliate-node/affiliate/api/affiliate/v1"
)

// held refuses what the fake hasn't been given.
func (f *fakeNode) held(hash string) error {
	if _, ok := f.objects[hash]; !ok {
		return refuse(agreement.Errorf(agreement.CodeNotFound, "there is no object %s here", hash))
	}
	return nil
}

func (f *fakeNode) GrantObject(_ context.Context, r *connect.Request[affiliatev1.GrantObjectRequest]) (*connect.Response[affiliatev1.GrantObjectResponse], error) {
	if r.Msg.GetAddress() != investor {
		return nil, refuse(agreement.Errorf(agreement.CodeUnknownParty, "no affiliate record of %s is known here", r.Msg.GetAddress()))
	}
	return connect.NewResponse(&affiliatev1.GrantObjectResponse{}), f.held(r.Msg.GetContentHash())
}

func (f *fakeNode) RevokeObject(_ context.Context, r *connect.Request[affiliatev1.RevokeObjectRequest]) (*connect.Response[affiliatev1.RevokeObjectResponse], error) {
	return connect.NewResponse(&affiliatev1.RevokeObjectResponse{}), f.held(r.Msg.GetContentHash())
}

func (f *fakeNode) ListReaders(_ context.Context, r *connect.Request[affiliatev1.ListReadersRequest]) (*connect.Response[affiliatev1.ListReadersResponse], error) {
	return connect.NewResponse(&affiliatev1.ListReadersResponse{Readers: []*affiliatev1.Reader{
		{Address: lender, Name: "Lender", Why: "put by this affiliate"},
		{Address: investor, Name: "Investor\x1b[31m", Why: "granted"},
	}}), f.held(r.Msg.GetContentHash())
}

func (f *fakeNode) DeleteObject(_ context.Context, r *connect.Request[affiliatev1.DeleteObjectRequest]) (*connect.Response[affiliatev1.DeleteObjectResponse], error) {
	err := f.held(r.Msg.GetContentHash())
	delete(f.objects, r.Msg.GetContentHash())
	return connect.NewResponse(&affiliatev1.DeleteObjectResponse{}), err
}

func (f *fakeNode) PinObject(_ context.Context, r *connect.Request[affiliatev1.PinObjectRequest]) (*connect.Response[affiliatev1.PinObjectResponse], error) {
	if r.Msg.GetLabel() == "full" {
		return nil, refuse(agreement.Errorf(agreement.CodeDiskFull, "the disk has 0 bytes left"))
	}
	return connect.NewResponse(&affiliatev1.PinObjectResponse{}), f.held(r.Msg.GetContentHash())
}

func (f *fakeNode) GetStoreStats(context.Context, *connect.Request[affiliatev1.GetStoreStatsRequest]) (*connect.Response[affiliatev1.StoreStats], error) {
	return connect.NewResponse(&affiliatev1.StoreStats{
		Objects: 3, Bytes: 3 << 20, LargeObjects: 1, QuarantinedObjects: 2, DatabaseBytes: 5 << 20, PayloadBytes: 2 << 20,
		FreeBytes: -1, ReserveBytes: 1 << 30, Refuses: "the disk has 0 bytes left",
		PurgedSince: timestamppb.New(time.Unix(1_800_000_000, 0)),
		Holders:     []*affiliatev1.StoreShare{{Holder: "agreement", Objects: 2, Bytes: 2 << 20}, {Holder: "put", Objects: 1, Bytes: 1 << 20}},
	}), nil
}

func (f *fakeNode) CompactStore(context.Context, *connect.Request[affiliatev1.CompactStoreRequest]) (*connect.Response[affiliatev1.CompactStoreResponse], error) {
	return connect.NewResponse(&affiliatev1.CompactStoreResponse{Before: 5 << 20, After: 3 << 20}), nil
}

// VerifyStore finds two damaged objects, of which one can be repaired.
func (f *fakeNode) VerifyStore(_ context.Context, r *connect.Request[affiliatev1.VerifyStoreRequest], s *connect.ServerStream[affiliatev1.VerifyStoreResponse]) error {
	one, two := strings.Repeat("1", 64), strings.Repeat("2", 64)
	findings := []*affiliatev1.VerifyFinding{
		{ObjectId: one, ContentHash: two, Problem: "DAMAGED: bytes 0 to 65536"}, {ObjectId: two, ContentHash: one, Problem: "DAMAGED: its file is gone"},
	}
	sum := &affiliatev1.VerifySummary{Objects: 3, Bytes: 3 << 20, Damaged: 2, Strays: 1}
	if r.Msg.GetRepair() {
		findings = append(findings, &affiliatev1.VerifyFinding{ObjectId: one, ContentHash: two, Repaired: true, Source: investor})
		sum.Repaired = 1
	}
	for _, finding := range findings {
		if err := s.Send(&affiliatev1.VerifyStoreResponse{Step: &affiliatev1.VerifyStoreResponse_Finding{Finding: finding}}); err != nil {
			return err
		}
	}
	return s.Send(&affiliatev1.VerifyStoreResponse{Step: &affiliatev1.VerifyStoreResponse_Summary{Summary: sum}})
}

// BackupStore sends something that isn't a backup, and for a home that the
// scripts know by its full disk it ends in the middle.
func (f *fakeNode) BackupStore(_ context.Context, _ *connect.Request[affiliatev1.BackupStoreRequest], s *connect.ServerStream[affiliatev1.BackupStoreResponse]) error {
	b := bytes.Repeat([]byte{7}, 1000)
	if err := s.Send(&affiliatev1.BackupStoreResponse{Data: b}); err != nil {
		return err
	}
	if len(f.objects) == 0 {
		return refuse(agreement.Errorf(agreement.CodeDamaged, "object 1 is damaged"))
	}
	return s.Send(&affiliatev1.BackupStoreResponse{Summary: &affiliatev1.BackupSummary{Upto: 41, Size: int64(len(b)), Store: "aa"}})
}

func (f *fakeNode) RotateEncryption(context.Context, *connect.Request[affiliatev1.RotateEncryptionRequest]) (*connect.Response[affiliatev1.Rotation], error) {
	return connect.NewResponse(&affiliatev1.Rotation{Running: true, Objects: 10, Done: 4, OldUntil: at(9), Identities: []*affiliatev1.EncryptionIdentity{
		{Number: 2, Created: at(8), Recipient: "age1pqnew"}, {Number: 1, Created: at(7), Recipient: "age1pqold"},
	}}), nil
}

func (f *fakeNode) GetRotation(context.Context, *connect.Request[affiliatev1.GetRotationRequest]) (*connect.Response[affiliatev1.Rotation], error) {
	return connect.NewResponse(&affiliatev1.Rotation{Identities: []*affiliatev1.EncryptionIdentity{{Number: 1, Created: at(7), Recipient: "age1pqold"}}}), nil
}
